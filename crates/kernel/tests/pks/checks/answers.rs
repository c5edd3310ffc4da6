//! What callbacks do to the context that faulted, what is told of a fault, and what happens where an instruction cannot be
//! read.

use pkeys_core::{Access, Knobs, Mode, PageState, Pardon, Rights};
use pkeys_kernel::pks::{
    Callbacks, Context, Declaration, Declared, KeyFault, KeyedPage, Pks, PksKey, Report, Settings,
    Verdict,
};

use super::bare::with_grant;
use super::system::{Frame, IF, Lock, key_fault};

const RIP: u64 = 0xFFFF_8000_0000_1234;
const ADDR: u64 = 0xFFFF_9000_0000_0010;
/// MOV [RAX], EAX.
const CODE: [u8; 3] = [0x89, 0x00, 0x90];

fn rights(pks: &Pks<Lock>, context: &Context, key: PksKey) -> Rights {
    context.value(pks.closed()).rights(key.pkey())
}

/// A context and the system that it is in.
fn scene(callback: Option<&str>) -> (Pks<Lock>, PksKey) {
    let declared = Declared::new([Declaration::new("one"), Declaration::new("two")]);
    let knobs = Knobs {
        stray: Mode::Relaxed,
        shared: Mode::Relaxed,
    };
    let settings = Settings {
        knobs,
        pardon: Pardon::Context,
    };
    let pks = Pks::new(&declared, MOODS, settings);
    let key = declared.key("one");
    let id = callback.map(|name| MOODS.id(name));
    pks.keys().set_callback(key, id).unwrap();
    (pks, key)
}

const MOODS: Callbacks = Callbacks::new(&[
    ("reads only", |_, key, interrupted| {
        interrupted.open(key, Rights::ReadOnly);
        true
    }),
    ("takes all", |_, key, interrupted| {
        interrupted.close(key, Rights::NoAccess);
        false
    }),
    ("takes writes", |_, key, interrupted| {
        interrupted.close(key, Rights::ReadOnly);
        false
    }),
]);

fn fault(access: Access) -> KeyFault {
    KeyFault {
        addr: ADDR,
        code: key_fault(access),
        rip: RIP,
    }
}

fn page(key: PksKey) -> Option<KeyedPage> {
    Some(KeyedPage {
        pkey: key.pkey(),
        state: PageState::Stray,
    })
}

pub(crate) fn a_callback_opens_and_closes_in_the_context_that_faulted() {
    let (pks, key) = scene(Some("reads only"));
    let context = Context::new();
    let read = pks.judge(&fault(Access::Read), &context, page(key));
    assert_eq!(read, Verdict::Retry);
    assert_eq!(rights(&pks, &context, key), Rights::ReadOnly);
    // A grant gives what the callback did not.
    for (mood, left) in [
        ("takes all", Rights::NoAccess),
        ("takes writes", Rights::ReadOnly),
    ] {
        let (pks, key) = scene(Some(mood));
        let context = with_grant(key, Rights::ReadOnly);
        let other = with_grant(key, Rights::ReadOnly);
        let verdict = pks.judge(&fault(Access::Write), &context, page(key));
        assert_eq!(rights(&pks, &context, key), left, "{mood}");
        assert_eq!(rights(&pks, &other, key), Rights::ReadOnly);
        // It did not say that it has dealt with the fault, so that the mode decides: the context is pardoned, and what was
        // taken is given.
        let Verdict::Pardon(pardoned) = verdict else {
            panic!("{mood}: {verdict:?}");
        };
        let mut frame = Frame {
            rip: RIP,
            rflags: 2,
        };
        assert_eq!(pardoned.give(&context, &mut frame, &CODE), Pardon::Context);
        assert_eq!(rights(&pks, &context, key), Rights::ReadWrite);
    }
}

pub(crate) fn an_instruction_that_cannot_be_read_pardons_the_context() {
    let (pks, key) = scene(None);
    let _ = pks.set(Settings {
        pardon: Pardon::Instruction,
        ..pks.settings()
    });
    // Nothing, prefixes alone, MOV SS without its operand, MOV SS without the next instruction.
    let short: [&[u8]; 5] = [&[], &[0x48], &[0x8E], &[0x8E, 0x14], &[0x8E, 0x10]];
    for code in short {
        let context = Context::new();
        let mut frame = Frame {
            rip: RIP,
            rflags: IF | 2,
        };
        let verdict = pks.judge(&fault(Access::Read), &context, page(key));
        let Verdict::Pardon(pardoned) = verdict else {
            panic!("{verdict:?}");
        };
        assert_eq!(pardoned.give(&context, &mut frame, code), Pardon::Context);
        assert_eq!(frame.rflags, IF | 2);
        assert!(!context.is_stepped() && context.is_pardoned());
    }
}

pub(crate) fn a_report_reads_as_a_sentence() {
    let declared = Declared::new([Declaration::new("pmem")]);
    let pks: Pks<Lock> = Pks::new(&declared, Callbacks::NONE, Settings::DEFAULT);
    let key = declared.key("pmem");
    let judge = |page| match pks.judge(&fault(Access::Write), &Context::new(), page) {
        Verdict::Fatal(report) => report,
        verdict => panic!("{verdict:?}"),
    };
    let report = judge(page(key));
    assert_eq!(
        report.to_string(),
        "stray write to 0xffff900000000010 at 0xffff800000001234: key 1 of \"pmem\", no access, strict"
    );
    let shared = Report {
        page: PageState::Shared,
        holder: None,
        held: Rights::ReadOnly,
        ..report
    };
    assert_eq!(
        shared.to_string(),
        "ungranted write to 0xffff900000000010 at 0xffff800000001234: key 1 of nobody that is known, on a shared page, \
         read only, strict"
    );
}
