//! The list of programs that the guest runs, as a file of the initrd.
//!
//! Every field ends with a NUL byte, which neither an argument nor an environment variable can hold, and lists are
//! preceded by their length. So any argument that a program can be given can be written down.

use core::time::Duration;

/// Where the list stands in the guest.
pub const PATH: &str = "/tests/list";

/// Where the input stands, for programs that have one.
pub const STDIN: &str = "/tests/input";

/// How the list says that a program has an input, and that it has none.
const INPUT: &str = "input";
const NO_INPUT: &str = "no-input";

/// One program to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// What the console calls it; one line.
    pub name: String,
    /// The time after which it is killed, in whole seconds.
    pub limit: Duration,
    /// Its absolute path in the guest.
    pub program: String,
    /// Its arguments, without the program's name.
    pub args: Vec<String>,
    /// Its whole environment.
    pub env: Vec<(String, String)>,
    /// Whether its standard input is the file [`STDIN`]; else it is empty.
    pub has_input: bool,
}

/// Writes `jobs` as a file. The error names the string that holds a NUL byte.
pub fn encode(jobs: &[Job]) -> Result<Vec<u8>, NulByte> {
    let mut out = Vec::new();
    for job in jobs {
        let mut fields = vec![
            job.name.clone(),
            job.limit.as_secs().to_string(),
            job.program.clone(),
            job.args.len().to_string(),
        ];
        fields.extend(job.args.iter().cloned());
        fields.push(job.env.len().to_string());
        for (key, value) in &job.env {
            fields.extend([key.clone(), value.clone()]);
        }
        fields.push(if job.has_input { INPUT } else { NO_INPUT }.to_owned());
        for field in fields {
            if field.contains('\0') {
                return Err(NulByte { text: field });
            }
            out.extend(field.into_bytes());
            out.push(0);
        }
    }
    Ok(out)
}

/// Reads what [`encode`] wrote; `None` for anything else.
#[must_use]
pub fn decode(bytes: &[u8]) -> Option<Vec<Job>> {
    let text = core::str::from_utf8(bytes).ok()?;
    if text.is_empty() {
        return Some(Vec::new());
    }
    let mut fields = text.strip_suffix('\0')?.split('\0').map(str::to_owned);
    let mut jobs = Vec::new();
    while let Some(name) = fields.next() {
        let limit = Duration::from_secs(fields.next()?.parse().ok()?);
        let program = fields.next()?;
        let nr_args: usize = fields.next()?.parse().ok()?;
        let args = (0..nr_args)
            .map(|_| fields.next())
            .collect::<Option<Vec<_>>>()?;
        let nr_env: usize = fields.next()?.parse().ok()?;
        let env = (0..nr_env)
            .map(|_| Some((fields.next()?, fields.next()?)))
            .collect::<Option<Vec<_>>>()?;
        let has_input = match fields.next()?.as_str() {
            INPUT => true,
            NO_INPUT => false,
            _ => return None,
        };
        jobs.push(Job {
            name,
            limit,
            program,
            args,
            env,
            has_input,
        });
    }
    Some(jobs)
}

/// A string that cannot be handed to a program because it holds a NUL byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NulByte {
    /// The string.
    pub text: String,
}

impl core::fmt::Display for NulByte {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:?} holds a NUL byte", self.text)
    }
}

impl core::error::Error for NulByte {}

#[cfg(test)]
mod tests {
    use super::{Job, decode, encode};
    use core::time::Duration;

    fn job() -> Job {
        Job {
            name: "debug pkeys".into(),
            limit: Duration::from_secs(300),
            program: "/tests/debug/pkeys-0".into(),
            args: vec![
                "--test-threads=2".into(),
                String::new(),
                "two\nlines\tand a tab".into(),
            ],
            env: vec![
                ("TMPDIR".into(), "/tmp".into()),
                ("EMPTY".into(), String::new()),
            ],
            has_input: false,
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let bare = Job {
            args: vec![],
            env: vec![],
            has_input: true,
            ..job()
        };
        for jobs in [vec![], vec![job()], vec![bare, job()]] {
            let bytes = encode(&jobs).unwrap();
            assert_eq!(decode(&bytes), Some(jobs));
        }
    }

    #[test]
    fn a_cut_list_is_refused_at_every_length() {
        let bytes = encode(&[job()]).unwrap();
        for len in 1..bytes.len() {
            assert_eq!(decode(&bytes[..len]), None, "{len} bytes");
        }
    }

    #[test]
    fn a_nul_byte_in_an_argument_is_refused() {
        let bad = Job {
            args: vec!["a\0b".into()],
            ..job()
        };
        assert_eq!(encode(&[bad]).unwrap_err().text, "a\0b");
    }
}
