# What `cargo xtask show` runs, on this machine or in a guest. PKEYS, SQLITE and WILD name the command, SQLite's shell and the
# wild code.
set -u
folder=$(mktemp -d) && cd "$folder" || exit 1
trap 'rm -rf "$folder"' EXIT

ledger() {
	rm -f ledger.db
	"$SQLITE" ledger.db "CREATE TABLE ledger (who TEXT, owes TEXT);
		INSERT INTO ledger VALUES ('Alice', '100'), ('Bob', '50');"
}

# The program, with whatever stands in front of it.
settle() {
	LD_PRELOAD=$WILD "$@" "$SQLITE" ledger.db "BEGIN; UPDATE ledger SET owes = '0' WHERE who = 'Bob'; COMMIT;"
	echo "   exit status $?"
}

look() {
	"$SQLITE" -separator ' owes ' ledger.db "SELECT '   ' || who, owes FROM ledger; SELECT '   integrity_check: ' || integrity_check FROM pragma_integrity_check;"
}

echo
echo "A ledger in SQLite. Bob pays his debt; other code in the process runs wild meanwhile."
ledger
look
echo
echo "1. sqlite3 ledger.db \"BEGIN; UPDATE ledger SET owes = '0' WHERE who = 'Bob'; COMMIT;\""
settle env
look
echo "   Alice's debt was 100. Nothing and nobody has noticed."
echo
echo "2. pkeys guard --profile sqlite -- sqlite3 ledger.db .."
ledger
settle "$PKEYS" guard --profile sqlite --
look
echo "   The write did not happen, and the report says who tried."
