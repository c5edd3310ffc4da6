//! The protection-key rule against two models: the table of kvm-unit-tests' `pks` and `pku`, row by row, and a
//! statement of the SDM's text (Vol. 3A, 4.6.2) that starts with all permissions and takes away.

use pkeys_core::{Access, AccessBits, KeyCheck, KeyRegister, Pkey, Privilege};

const PRIVILEGES: [Privilege; 2] = [Privilege::User, Privilege::Supervisor];
const ACCESSES: [Access; 3] = [Access::Read, Access::Write, Access::Fetch];
const BOTH: [bool; 2] = [false, true];

/// A register in which the key has these bits and every other key has all of the opposite.
fn register(pkey: Pkey, bits: AccessBits) -> KeyRegister {
    let opposite = AccessBits::truncate(!bits.bits());
    Pkey::all()
        .fold(KeyRegister::ALL_OPEN, |register, other| {
            register.with(other, opposite)
        })
        .with(pkey, bits)
}

/// What the manual says, in its order: which accesses are left after each sentence that applies.
fn model(check: &KeyCheck) -> bool {
    let mut permitted = vec![Access::Read, Access::Write, Access::Fetch];
    let is_user_page = check.page == Privilege::User;
    let applies = (is_user_page && check.cr4_pke) || (!is_user_page && check.cr4_pks);
    if applies {
        let register = if is_user_page { check.pkru } else { check.pkrs };
        let two_bits = (register.bits() >> (2 * u32::from(check.pkey))) % 4;
        if two_bits % 2 == 1 {
            permitted.retain(|&access| access == Access::Fetch);
        }
        if two_bits >= 2 {
            let by_user = check.mode == Privilege::User;
            let by_supervisor_under_wp = check.mode == Privilege::Supervisor && check.cr0_wp;
            if by_user || by_supervisor_under_wp {
                permitted.retain(|&access| access != Access::Write);
            }
        }
    }
    permitted.contains(&check.access)
}

/// Every combination of the inputs for one key: 2 modes, 2 pages, 3 accesses, 8 settings, 4 x 4 bits.
fn every_check(pkey: Pkey) -> Vec<KeyCheck> {
    let mut checks = Vec::new();
    for mode in PRIVILEGES {
        for page in PRIVILEGES {
            for access in ACCESSES {
                for settings in 0..8 {
                    for bits in 0..16 {
                        checks.push(KeyCheck {
                            access,
                            mode,
                            page,
                            pkey,
                            cr0_wp: settings & 1 != 0,
                            cr4_pke: settings & 2 != 0,
                            cr4_pks: settings & 4 != 0,
                            pkru: register(pkey, AccessBits::truncate(bits)),
                            pkrs: register(pkey, AccessBits::truncate(bits >> 2)),
                        });
                    }
                }
            }
        }
    }
    checks
}

#[test]
fn every_combination_agrees_with_the_manual() {
    let (mut allowed, mut denied) = (0, 0);
    for pkey in Pkey::all() {
        for check in every_check(pkey) {
            assert_eq!(check.is_allowed(), model(&check), "{check:?}");
            if check.is_allowed() {
                allowed += 1;
            } else {
                denied += 1;
            }
        }
    }
    assert_eq!(allowed + denied, 16 * 2 * 2 * 3 * 8 * 16);
    // Counted by hand for one key and one kind of page, with its CR4 bit set: the ruling register denies a read for 8
    // of the 16 pairs of bits, a write for 12, or for 8 where mode and WP ignore WD. Over the four cases of mode and
    // WP that is 4 x 8 reads and 3 x 12 + 8 writes, and twice that, as the other CR4 bit does not matter.
    assert_eq!(denied, 16 * 2 * 2 * (32 + 44));
}

/// CPL 0; one row a report line of the unit test. True is "no fault".
#[test]
fn the_table_of_kvm_unit_tests_holds_in_both_columns() {
    use Access::{Read, Write};
    use Privilege::{Supervisor, User};
    const AD: AccessBits = AccessBits::DISABLE_ACCESS;
    const WD: AccessBits = AccessBits::DISABLE_WRITE;
    // Access, page, bits, CR0.WP; allowed with these bits in PKRS (PKS on), in PKRU (PKE on).
    let table = [
        (Write, Supervisor, AD, true, false, true),
        (Write, Supervisor, AD, false, false, true),
        (Write, Supervisor, WD, true, false, true),
        (Write, Supervisor, WD, false, true, true),
        (Write, User, WD, false, true, true),
        (Write, User, WD, true, true, false),
        (Read, User, AD, true, true, false),
    ];
    for pkey in Pkey::all() {
        for (row, (access, page, bits, cr0_wp, with_pkrs, with_pkru)) in
            table.into_iter().enumerate()
        {
            let pkrs_test = KeyCheck {
                access,
                mode: Supervisor,
                page,
                pkey,
                cr0_wp,
                cr4_pke: false,
                cr4_pks: true,
                pkru: KeyRegister::ALL_OPEN,
                pkrs: KeyRegister::ALL_OPEN.with(pkey, bits),
            };
            let pkru_test = KeyCheck {
                cr4_pke: true,
                cr4_pks: false,
                pkru: pkrs_test.pkrs,
                pkrs: KeyRegister::ALL_OPEN,
                ..pkrs_test
            };
            assert_eq!(pkrs_test.is_allowed(), with_pkrs, "pks, row {row}");
            assert_eq!(pkru_test.is_allowed(), with_pkru, "pku, row {row}");
        }
    }
}

#[test]
fn the_page_and_not_the_mode_picks_the_register() {
    let (pkru, pkrs) = (
        KeyRegister::from_bits(0x1111_1110),
        KeyRegister::from_bits(0x2222_2220),
    );
    for mode in PRIVILEGES {
        for cr4_pke in BOTH {
            for cr4_pks in BOTH {
                let check = |page| KeyCheck {
                    access: Access::Read,
                    mode,
                    page,
                    pkey: Pkey::DEFAULT,
                    cr0_wp: true,
                    cr4_pke,
                    cr4_pks,
                    pkru,
                    pkrs,
                };
                let user = check(Privilege::User).register();
                let supervisor = check(Privilege::Supervisor).register();
                assert_eq!(user, cr4_pke.then_some(pkru));
                assert_eq!(supervisor, cr4_pks.then_some(pkrs));
            }
        }
    }
}
