//! The second JSON line of a report, with what the raw one could not have. The module's essay says what the fields mean.

use serde::{Serialize, Serializer};

use crate::fault::report::finding::{Extent, Finding, Place};
use crate::fault::report::record::{SCHEMA, access_word};
use crate::fault::report::symbols::Function;

/// A number as hexadecimal text: a JSON number of that size loses digits in many readers.
struct Hex(u64);

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:#x}", self.0))
    }
}

/// The line, in the order in which its fields are written.
#[derive(Serialize)]
struct Report<'f> {
    schema: u64,
    kind: &'static str,
    seq: u64,
    time_ns: u64,
    monotonic_ns: u64,
    pid: i32,
    tid: i32,
    thread: String,
    domain: &'f str,
    region: &'f str,
    offset: usize,
    addr: Hex,
    access: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    block: Option<BlockOf>,
    mode: &'static str,
    pardoned: bool,
    thread_older_than_domain: Option<bool>,
    in_signal_handler: Option<bool>,
    now: Now<'f>,
    unwound: &'static str,
    frames: Vec<Frame<'f>>,
}

#[derive(Serialize)]
struct BlockOf {
    start: Hex,
    len: usize,
    offset: usize,
    origin: &'static str,
    advice: &'static str,
}

#[derive(Serialize)]
struct Now<'f> {
    permissions: Option<&'f str>,
    pkey: Option<u8>,
}

#[derive(Serialize)]
struct Frame<'f> {
    pc: Hex,
    module: Option<String>,
    offset: Option<Hex>,
    function: Option<&'f str>,
    file: Option<&'f str>,
    line: Option<u32>,
    inlined: bool,
    interrupted: bool,
}

/// The line, with its end.
pub(super) fn line(finding: &Finding<'_>) -> String {
    let Finding {
        record,
        stray,
        page,
        ..
    } = finding;
    let report = Report {
        schema: SCHEMA,
        kind: "report",
        seq: record.sequence,
        time_ns: record.realtime_ns,
        monotonic_ns: record.monotonic_ns,
        pid: record.pid,
        tid: stray.tid,
        thread: text(record.thread_name()),
        domain: stray.domain(),
        region: stray.region,
        offset: stray.offset_bytes(),
        addr: Hex(stray.addr as u64),
        access: access_word(stray.access),
        block: stray.block.map(|block| BlockOf {
            start: Hex(block.start as u64),
            len: block.len_bytes,
            offset: stray.addr.wrapping_sub(block.start),
            origin: block.origin,
            advice: block.advice,
        }),
        mode: stray.mode.name(),
        pardoned: stray.is_pardoned,
        thread_older_than_domain: finding.is_thread_older,
        in_signal_handler: finding.is_in_signal_handler(),
        now: Now {
            permissions: page.permissions.as_deref(),
            pkey: page.pkey,
        },
        unwound: match finding.extent {
            Extent::Complete => "complete",
            Extent::Partial => "partial",
            Extent::Abandoned => "not at all",
        },
        frames: finding.places.iter().flat_map(frames).collect(),
    };
    // Text and numbers only: there is nothing that JSON could not hold.
    let mut line = serde_json::to_string(&report).unwrap_or_default();
    line.push('\n');
    line
}

/// One frame for each function at a place.
fn frames(place: &Place) -> impl Iterator<Item = Frame<'_>> {
    place.functions.iter().map(|function| {
        let Function {
            name,
            file,
            line,
            is_inlined,
        } = function;
        Frame {
            pc: Hex(place.pc),
            module: place.module.map(|module| text(module.path)),
            offset: place.offset().map(Hex),
            function: name.as_deref(),
            file: file.as_deref(),
            line: *line,
            inlined: *is_inlined,
            interrupted: place.is_interrupted && !is_inlined,
        }
    })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::report::sample;
    use serde_json::{Value, json};

    /// The fields that the module's essay lists, and no others, in that order.
    #[test]
    fn the_line_has_the_documented_fields() {
        let record = sample::record();
        let line = line(&sample::finding(&record));
        assert!(
            line.starts_with("{\"schema\":1,\"kind\":\"report\",\"seq\":7,"),
            "{line}"
        );
        assert_eq!(line.matches('\n').count(), 1);
        let expected = json!({
            "schema": 1,
            "kind": "report",
            "seq": 7,
            "time_ns": 1_700_000_000_123_456_789_u64,
            "monotonic_ns": 55,
            "pid": 4200,
            "tid": 4242,
            "thread": "worker",
            "domain": "ledger",
            "region": "orders",
            "offset": 0x1234,
            "addr": "0x7f0000001234",
            "access": "write",
            "mode": "strict",
            "pardoned": false,
            "thread_older_than_domain": true,
            "in_signal_handler": false,
            "now": { "permissions": "rw-p", "pkey": 3 },
            "unwound": "complete",
            "frames": [
                {
                    "pc": "0x405678",
                    "module": "/opt/bin/ledgerd",
                    "offset": "0x5678",
                    "function": "core::ptr::write",
                    "file": "/rustc/abc/library/core/src/ptr/mod.rs",
                    "line": 1555,
                    "inlined": true,
                    "interrupted": false,
                },
                {
                    "pc": "0x405678",
                    "module": "/opt/bin/ledgerd",
                    "offset": "0x5678",
                    "function": "ledgerd::audit::recount",
                    "file": "/home/a/ledgerd/src/audit.rs",
                    "line": 41,
                    "inlined": false,
                    "interrupted": true,
                },
                {
                    "pc": "0x7000",
                    "module": null,
                    "offset": null,
                    "function": null,
                    "file": null,
                    "line": null,
                    "inlined": false,
                    "interrupted": false,
                },
            ],
        });
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), expected);
    }

    #[test]
    fn a_block_is_there_where_the_domain_tells() {
        let mut record = sample::record();
        let without: Value = serde_json::from_str(&line(&sample::finding(&record))).unwrap();
        assert!(without.get("block").is_none());
        record.stray.as_mut().unwrap().block = Some(sample::block());
        let with: Value = serde_json::from_str(&line(&sample::finding(&record))).unwrap();
        let expected = json!({
            "start": "0x7f0000001220",
            "len": 64,
            "offset": 0x14,
            "origin": "entry_new",
            "advice": "run with --share entry_new",
        });
        assert_eq!(with["block"], expected);
    }

    #[test]
    fn what_cannot_be_told_is_null() {
        let record = sample::record();
        let mut finding = sample::finding(&record);
        finding.extent = Extent::Abandoned;
        finding.is_thread_older = None;
        finding.page.permissions = None;
        finding.page.pkey = None;
        let line: Value = serde_json::from_str(&line(&finding)).unwrap();
        assert_eq!(line["unwound"], "not at all");
        assert_eq!(line["now"], json!({ "permissions": null, "pkey": null }));
        for field in ["thread_older_than_domain", "in_signal_handler"] {
            assert_eq!(line[field], Value::Null, "{field}");
        }
    }
}
