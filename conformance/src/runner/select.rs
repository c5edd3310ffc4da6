//! Which cases are meant: by exact name, or by a prefix.

use core::fmt;

use crate::case::Case;

/// A name that no case has, and that no case's name begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UnknownCase {
    name: String,
}

impl fmt::Display for UnknownCase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "no case is called {:?} or begins with it; see --list",
            self.name
        )
    }
}

impl core::error::Error for UnknownCase {}

/// The cases that are meant, each once and in the catalogue's order; all where nothing is named.
///
/// # Errors
///
/// The first name that means nothing.
pub(super) fn select<'a>(
    cases: impl Iterator<Item = &'a Case>,
    names: &[String],
) -> Result<Vec<&'a Case>, UnknownCase> {
    let cases: Vec<_> = cases.collect();
    let is_exact = |name: &String| cases.iter().any(|case| case.name == name);
    let (exact, prefixes): (Vec<&String>, Vec<&String>) =
        names.iter().partition(|name| is_exact(name));
    let begins = |name: &&String| {
        cases
            .iter()
            .any(|case| case.name.starts_with(name.as_str()))
    };
    if let Some(unknown) = prefixes
        .iter()
        .find(|name| name.is_empty() || !begins(name))
    {
        let name = (**unknown).clone();
        return Err(UnknownCase { name });
    }
    let is_meant = |case: &&Case| {
        names.is_empty()
            || exact.iter().any(|name| *name == case.name)
            || prefixes
                .iter()
                .any(|name| case.name.starts_with(name.as_str()))
    };
    Ok(cases.iter().copied().filter(is_meant).collect())
}

#[cfg(test)]
mod tests {
    use super::select;
    use crate::case::Case;

    const CASES: [Case; 4] = [
        Case::new("free.twice", "", "", |_| Ok(())),
        Case::new("free.twice_more", "", "", |_| Ok(())),
        Case::new("free.never", "", "", |_| Ok(())),
        Case::new("alloc.all", "", "", |_| Ok(())),
    ];

    fn names(wanted: &[&str]) -> Result<Vec<&'static str>, String> {
        let wanted: Vec<String> = wanted.iter().copied().map(String::from).collect();
        let found = select(CASES.iter(), &wanted).map_err(|err| err.to_string())?;
        Ok(found.into_iter().map(|case| case.name).collect())
    }

    #[test]
    fn nothing_named_means_all() {
        assert_eq!(names(&[]).unwrap().len(), 4);
    }

    #[test]
    fn an_exact_name_means_one_case_although_others_begin_with_it() {
        assert_eq!(names(&["free.twice"]).unwrap(), ["free.twice"]);
    }

    #[test]
    fn a_prefix_means_all_that_begin_with_it_in_the_order_of_the_catalogue() {
        assert_eq!(
            names(&["free."]).unwrap(),
            ["free.twice", "free.twice_more", "free.never"]
        );
        assert_eq!(
            names(&["alloc", "free.n", "free.never"]).unwrap(),
            ["free.never", "alloc.all"]
        );
    }

    #[test]
    fn an_unknown_name_is_told() {
        let err = names(&["free.twice", "fre.twice"]).unwrap_err();
        assert_eq!(
            err,
            "no case is called \"fre.twice\" or begins with it; see --list"
        );
        assert!(names(&[""]).is_err());
    }
}
