//! Bad input: a typed error that names the value, and nothing left behind.

use pkeys::{CreateError, Domain, MAX_DOMAINS, MapError, Rights, WithoutKeys};

use crate::case::{Case, builder, domain};

pub(crate) const CASES: &[Case] = &[
    Case::new("the_sixteenth_domain_names_the_holders", sixteenth).keys(),
    Case::new("keys_of_others_are_counted", foreign_keys).keys(),
    Case::new("names_are_checked", names),
    Case::new("closed_rights_must_protect", closed_rights),
    Case::new("zero_and_overflowing_sizes", sizes),
    Case::new("an_address_space_limit", address_space),
    Case::new("a_domain_under_an_address_space_limit", domain_under_limit),
    Case::new("without_keys_refuses_by_default", refuses),
    Case::new("a_sandbox_that_refuses_keys_is_named", sandbox).keys(),
    Case::new("a_freed_key_is_refused", freed_key).keys(),
];

fn sixteenth() {
    let names: Vec<String> = (1..=MAX_DOMAINS).map(|n| format!("domain {n}")).collect();
    let mut domains: Vec<Domain> = names.iter().map(|name| domain(name)).collect();
    let error = Domain::builder("one more").create().unwrap_err();
    let CreateError::KeysExhausted {
        limit,
        holders,
        foreign,
        parked,
        ..
    } = &error
    else {
        panic!("{error:?}");
    };
    assert_eq!((*limit, holders, *foreign, *parked), (15, &names, 0, 0));
    assert!(
        error.to_string().contains("domain 1, domain 2, "),
        "{error}"
    );
    // One that goes makes room for one.
    domains.remove(4);
    let replacement = domain("replacement");
    assert_eq!(replacement.pkey().unwrap().get(), 5);
    assert!(Domain::builder("one more").create().is_err());
}

fn foreign_keys() {
    let first = domain("first");
    let foreign: Vec<i64> = core::iter::from_fn(|| {
        // SAFETY: takes integers.
        let key = unsafe { libc::syscall(libc::SYS_pkey_alloc, 0, 1) };
        (key > 0).then_some(key)
    })
    .collect();
    assert_eq!(foreign.len(), 14);
    let error = Domain::builder("second").create().unwrap_err();
    let CreateError::KeysExhausted {
        holders, foreign, ..
    } = error
    else {
        panic!("{error:?}");
    };
    assert_eq!((holders, foreign), (vec!["first".to_owned()], 14));
    drop(first);
}

fn names() {
    let long = "x".repeat(65);
    for name in ["", "line\nbreak", "\u{7}", &long] {
        let error = builder(name).create().unwrap_err();
        assert!(matches!(&error, CreateError::Name { name: named, .. } if named == name));
    }
    let longest = "x".repeat(64);
    for name in ["a", "Gr\u{fc}\u{df}e \"quoted\" \\ back", &longest] {
        assert_eq!(domain(name).name(), name);
    }
}

fn closed_rights() {
    let error = builder("open")
        .closed(Rights::ReadWrite)
        .create()
        .unwrap_err();
    assert!(matches!(
        error,
        CreateError::ClosedRights {
            closed: Rights::ReadWrite,
            ..
        }
    ));
}

fn mappings() -> usize {
    std::fs::read_to_string("/proc/self/maps")
        .unwrap()
        .lines()
        .count()
}

fn sizes() {
    let domain = domain("ledger");
    let before = mappings();
    assert!(matches!(domain.map::<u64>(0), Err(MapError::ZeroLength)));
    assert!(matches!(
        domain.map::<[u8; 0]>(5),
        Err(MapError::ZeroLength)
    ));
    assert!(matches!(
        domain.map::<u64>(usize::MAX / 4),
        Err(MapError::TooLarge {
            element_bytes: 8,
            ..
        })
    ));
    for len in [usize::MAX, usize::MAX - 4095, usize::MAX / 2 + 1] {
        let error = domain.map::<u8>(len).unwrap_err();
        assert!(matches!(error, MapError::TooLarge { .. }), "{error:?}");
    }
    // Representable, and more than the address space has.
    let error = domain.map::<u8>(1 << 62).unwrap_err();
    let MapError::Os {
        call: "mmap",
        len_bytes,
        source,
    } = &error
    else {
        panic!("{error:?}");
    };
    assert_eq!(
        (*len_bytes, source.raw_os_error()),
        (1 << 62, Some(libc::ENOMEM))
    );
    assert_eq!(mappings(), before);
}

fn limit_address_space(extra_bytes: u64) {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split(' ').next().unwrap().parse().unwrap();
    let bytes = pages * 4096 + extra_bytes;
    let limit = libc::rlimit {
        rlim_cur: bytes,
        rlim_max: bytes,
    };
    // SAFETY: lowers this process's own limit.
    let result = unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) };
    assert_eq!(result, 0);
}

fn address_space() {
    let domain = domain("ledger");
    drop(domain.map::<u8>(4096).unwrap());
    let before = mappings();
    limit_address_space(32 << 20);
    for _ in 0..100 {
        let error = domain.map::<u8>(64 << 20).unwrap_err();
        assert!(
            matches!(error, MapError::Os { call: "mmap", .. }),
            "{error:?}"
        );
    }
    assert_eq!(mappings(), before);
    // What fits, fits.
    domain.map::<u8>(4096).unwrap().write().unwrap()[0] = 1;
}

/// No memory for anything: an error, and no key is lost by it.
fn domain_under_limit() {
    limit_address_space(0);
    let error = match builder("ledger").create() {
        Ok(_) => return println!("the domain needed no new memory"),
        Err(error) => error,
    };
    assert!(matches!(error, CreateError::Install(_)), "{error:?}");
}

fn refuses() {
    let result = Domain::builder("ledger").create();
    match pkeys::support() {
        Ok(()) => assert_eq!(result.unwrap().backend(), pkeys::Backend::Pkey),
        Err(missing) => {
            let error = result.unwrap_err();
            assert!(matches!(error, CreateError::Unsupported(found) if found == missing));
            let unprotected = Domain::builder("ledger").without_keys(WithoutKeys::Unprotected);
            let domain = unprotected.create().unwrap();
            assert_eq!(domain.backend(), pkeys::Backend::Unprotected);
            let mut rows = domain.map::<u64>(10).unwrap();
            rows.write().unwrap()[0] = 1;
            assert_eq!(rows.read().unwrap()[0], 1);
        }
    }
}

/// A seccomp filter that answers EPERM, as old container profiles do.
fn sandbox() {
    let number = u32::try_from(libc::SYS_pkey_alloc).unwrap();
    let statement = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter {
        code: u16::try_from(code).unwrap(),
        jt,
        jf,
        k,
    };
    let eperm = libc::SECCOMP_RET_ERRNO | libc::EPERM.unsigned_abs();
    let mut filter = [
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, number),
        statement(libc::BPF_RET | libc::BPF_K, 0, 0, eperm),
        statement(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: 4,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: restricts this process.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(
            libc::prctl(
                libc::PR_SET_SECCOMP,
                libc::SECCOMP_MODE_FILTER,
                &raw const program
            ),
            0
        );
    }
    let missing = pkeys::support().unwrap_err();
    assert_eq!(missing.layer, pkeys::Layer::Sandbox);
    let error = Domain::builder("ledger").create().unwrap_err();
    assert!(matches!(error, CreateError::Unsupported(found) if found == missing));
    // The fallback protects here too.
    let domain = domain("ledger");
    assert_eq!(domain.backend(), pkeys::Backend::Mprotect);
    domain.map::<u64>(10).unwrap().write().unwrap()[0] = 1;
}

fn freed_key() {
    let key = pkeys::Key::alloc(Rights::ReadOnly).unwrap();
    assert_eq!(key.get().unwrap(), Rights::ReadOnly);
    let copy = key;
    // SAFETY: no page carries it.
    unsafe { key.free() }.unwrap();
    assert!(matches!(
        copy.get(),
        Err(pkeys::KeyError::NotAllocated { .. })
    ));
    assert!(matches!(
        copy.set(Rights::ReadWrite),
        Err(pkeys::KeyError::NotAllocated { .. })
    ));
    // SAFETY: refused.
    assert!(unsafe { copy.free() }.is_err());
}
