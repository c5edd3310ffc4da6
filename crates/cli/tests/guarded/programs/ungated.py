# Calls every function of the profile's ungated list, on values of every kind, in and out of callbacks, and prints their names.
# Its argument is the path of a database.
import ctypes as C
import sys

lib = C.CDLL("libsqlite3.so.0")
P = C.c_void_p
called = set()


def call(name, result, *arguments):
    called.add(name)
    f = getattr(lib, name)
    f.restype = result
    return f(*arguments)


def check(code, expected=0):
    assert code == expected, (code, expected)


db = P()
check(lib.sqlite3_open(sys.argv[1].encode(), C.byref(db)))


def execute(text):
    check(lib.sqlite3_exec(db, text, None, None, None))


execute(b"create table t (k integer primary key, a, b text, c real)")
execute(b"insert into t values (1, 12, 'twelve', 1.5), (2, '34', null, 2.25), (3, x'3536', '7.5e1', -1), (4, zeroblob(9), 'x', 9e99)")
kinds = []


def look(value):
    kinds.append(
        (
            call("sqlite3_value_type", C.c_int, P(value)),
            call("sqlite3_value_int", C.c_int, P(value)),
            call("sqlite3_value_int64", C.c_int64, P(value)),
            call("sqlite3_value_double", C.c_double, P(value)),
            call("sqlite3_value_subtype", C.c_uint, P(value)),
            call("sqlite3_value_nochange", C.c_int, P(value)),
            call("sqlite3_value_frombind", C.c_int, P(value)),
        )
    )


@C.CFUNCTYPE(None, P, C.c_int, C.POINTER(P))
def function(context, count, values):
    for index in range(count):
        look(values[index])
    assert call("sqlite3_context_db_handle", P, P(context)) == db.value
    assert call("sqlite3_user_data", P, P(context)) == 77
    lib.sqlite3_result_int64(P(context), C.c_int64(5))


check(lib.sqlite3_create_function(db, b"look", -1, 1, P(77), function, None, None))


def prepare(text):
    statement = P()
    check(lib.sqlite3_prepare_v2(db, text, -1, C.byref(statement), None))
    return statement


statement = prepare(b"select look(k, a, b, c, ?1, :name), k, a, b, c from t where k > ?1")
assert call("sqlite3_bind_parameter_count", C.c_int, statement) == 2
assert call("sqlite3_bind_parameter_name", C.c_char_p, statement, 2) == b":name"
assert call("sqlite3_bind_parameter_index", C.c_int, statement, b":name") == 2
assert call("sqlite3_bind_parameter_index", C.c_int, statement, b":other") == 0
check(lib.sqlite3_bind_int64(statement, 1, C.c_int64(0)))
check(lib.sqlite3_bind_text(statement, 2, b"text", -1, P(-1 & (1 << 64) - 1)))
assert call("sqlite3_stmt_readonly", C.c_int, statement) == 1
assert call("sqlite3_column_count", C.c_int, statement) == 5
assert call("sqlite3_data_count", C.c_int, statement) == 0
rows = 0
while lib.sqlite3_step(statement) == 100:
    rows += 1
    assert call("sqlite3_data_count", C.c_int, statement) == 5
    assert call("sqlite3_stmt_busy", C.c_int, statement) == 1
    assert call("sqlite3_db_handle", P, statement) == db.value
    assert call("sqlite3_sql", C.c_char_p, statement).startswith(b"select")
    assert call("sqlite3_errcode", C.c_int, db) == 100
    assert call("sqlite3_extended_errcode", C.c_int, db) == 100
assert rows == 4 and len(kinds) == 24, (rows, len(kinds))
assert {kind[0] for kind in kinds} == {1, 2, 3, 4, 5}
check(lib.sqlite3_finalize(statement))
check(lib.sqlite3_prepare_v2(db, b"nonsense", -1, C.byref(statement), None), 1)
assert call("sqlite3_errcode", C.c_int, db) == 1
assert call("sqlite3_extended_errcode", C.c_int, db) == 1
execute(b"update t set c = 0")
assert call("sqlite3_changes", C.c_int, db) == 4
assert call("sqlite3_total_changes", C.c_int, db) == 8
assert call("sqlite3_last_insert_rowid", C.c_int64, db) == 4
assert call("sqlite3_get_autocommit", C.c_int, db) == 1
assert call("sqlite3_db_readonly", C.c_int, db, b"main") == 0
assert call("sqlite3_db_readonly", C.c_int, db, b"other") == -1
call("sqlite3_db_filename", C.c_char_p, db, b"main")
call("sqlite3_db_mutex", P, db)
assert call("sqlite3_errstr", C.c_char_p, 1) == b"SQL logic error"
call("sqlite3_libversion", C.c_char_p)
call("sqlite3_libversion_number", C.c_int)
call("sqlite3_threadsafe", C.c_int)
check(lib.sqlite3_close(db))
print("\n".join(sorted(called)))
