//! Libraries, functions and profiles as they were given, into domains.

use crate::guard::nearest::nearest;
use crate::guard::profile::{self, Profile};
use crate::guard::settings::DomainSettings;
use crate::guard::{Args, Refusal};

/// Libraries that cannot be guarded: the gates themselves, and the program's threads, stand on them.
const NEVER: [&str; 5] = [
    "ld-linux",
    "libc.so",
    "libpthread.so",
    "libgcc_s.so",
    "libdl.so",
];

/// Of 15 keys one is for the guard's own memory.
const MAX_DOMAINS: usize = 14;

/// The last argument that can be a callback.
const MAX_ARGUMENT: u8 = 39;

/// One domain, with the functions that are meant for it for certain.
#[derive(Debug, Clone, Default)]
pub(super) struct Domain {
    pub(super) libraries: Vec<String>,
    pub(super) share: Vec<String>,
    pub(super) callbacks: Vec<(String, Vec<u8>)>,
    pub(super) ungated: Vec<String>,
}

impl Domain {
    pub(super) fn into_settings(self) -> DomainSettings {
        DomainSettings {
            libraries: self.libraries,
            share: self.share,
            callbacks: self.callbacks,
            ungated: self.ungated,
        }
    }

    fn add(&mut self, profile: &Profile) {
        self.share.extend(profile.share.iter().cloned());
        self.ungated.extend(profile.ungated.iter().cloned());
        let callbacks = profile.callbacks.iter();
        self.callbacks
            .extend(callbacks.map(|(name, arguments)| (name.clone(), arguments.clone())));
    }
}

/// The domains that the arguments ask for. What is given for no library in particular is meant for all of them.
pub(super) fn domains(args: &Args) -> Result<Vec<Domain>, Refusal> {
    let mut domains: Vec<Domain> = Vec::new();
    for list in &args.libraries {
        let libraries: Vec<String> = list.split(',').map(str::to_owned).collect();
        for library in &libraries {
            check_library(library)?;
            if domains
                .iter()
                .any(|domain| domain.libraries.contains(library))
            {
                return Err(Refusal::Usage(format!("{library} is named twice")));
            }
        }
        domains.push(Domain {
            libraries,
            ..Domain::default()
        });
    }
    for name in &args.profile {
        let profile = profile::find(name)?;
        let libraries = &profile.library;
        let found = domains.iter_mut().find(|domain| {
            domain
                .libraries
                .iter()
                .any(|library| libraries.contains(library))
        });
        if let Some(domain) = found {
            domain.add(&profile);
            continue;
        }
        for library in libraries {
            check_library(library)?;
        }
        let mut domain = Domain {
            libraries: libraries.clone(),
            ..Domain::default()
        };
        domain.add(&profile);
        domains.push(domain);
    }
    if domains.is_empty() {
        return Err(Refusal::Usage(
            "no library: give --lib or --profile".to_owned(),
        ));
    }
    if domains.len() > MAX_DOMAINS {
        let text = format!(
            "{} libraries with a key each, and there are keys for {MAX_DOMAINS}: let some share one (--lib a,b)",
            domains.len()
        );
        return Err(Refusal::Usage(text));
    }
    let callbacks: Vec<(String, Vec<u8>)> = args
        .callbacks
        .iter()
        .map(|text| callback(text))
        .collect::<Result<_, _>>()?;
    for domain in &mut domains {
        domain.share.extend(args.share.iter().cloned());
        domain.ungated.extend(args.ungated.iter().cloned());
        domain.callbacks.extend(callbacks.iter().cloned());
    }
    Ok(domains)
}

fn check_library(library: &str) -> Result<(), Refusal> {
    if library.is_empty() || library.contains('/') {
        let text = format!(
            "{library:?} is no name of a library: give it as the loader knows it, such as libsqlite3.so.0"
        );
        return Err(Refusal::Usage(text));
    }
    if NEVER.iter().any(|never| library.starts_with(never)) {
        return Err(Refusal::Usage(format!(
            "{library} cannot be guarded: every program stands on it"
        )));
    }
    Ok(())
}

/// `FN:ARG+ARG`.
fn callback(text: &str) -> Result<(String, Vec<u8>), Refusal> {
    let wrong = || {
        Refusal::Usage(format!(
            "{text:?} is not FN:ARG+ARG with arguments from 0 to {MAX_ARGUMENT}"
        ))
    };
    let (name, arguments) = text.split_once(':').ok_or_else(wrong)?;
    let arguments: Vec<u8> = arguments
        .split('+')
        .map(|argument| {
            argument
                .parse()
                .ok()
                .filter(|argument| *argument <= MAX_ARGUMENT)
        })
        .collect::<Option<_>>()
        .ok_or_else(wrong)?;
    if name.is_empty() {
        return Err(wrong());
    }
    Ok((name.to_owned(), arguments))
}

/// `no WHAT NAME; the nearest are ..`.
pub(super) fn unknown<'n>(what: &str, name: &str, names: impl Iterator<Item = &'n str>) -> Refusal {
    let nearest = nearest(name, names).join(", ");
    Refusal::Usage(format!("no {what} {name}; the nearest are {nearest}"))
}

#[cfg(test)]
mod tests {
    use super::callback;

    #[test]
    fn callbacks_are_read() {
        let read = |text| callback(text).ok();
        assert_eq!(read("f:0"), Some(("f".to_owned(), vec![0])));
        assert_eq!(read("f:5+6+39"), Some(("f".to_owned(), vec![5, 6, 39])));
        for text in ["", "f", "f:", ":1", "f:40", "f:1+", "f:-1", "f:x"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
