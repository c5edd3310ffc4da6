//! Which tiers run, in which order.

use super::Args;
use super::tier::Tier;
use crate::conform::Linux;
use clap::ValueEnum;

/// Where the Linux side of a tier runs that has one.
pub(super) fn linux(args: &Args, has_keys: bool) -> Linux {
    match (args.in_guest, has_keys, args.quick) {
        (true, _, _) | (false, false, false) => Linux::InGuest,
        (false, true, _) => Linux::Here,
        (false, false, true) => Linux::Nowhere,
    }
}

/// The tiers for these arguments, cheapest first.
pub(super) fn tiers(args: &Args, has_keys: bool) -> Vec<Tier> {
    let is_wanted = |tier: Tier| {
        if args.filter.is_some() && !tier.has_named_tests() {
            return false;
        }
        if !args.tier.is_empty() {
            // The option alone asks for the guest tier, unless it says where a chosen tier runs.
            let has_other_use = args.tier.iter().any(|tier| tier.has_linux_side());
            return args.tier.contains(&tier)
                || (tier == Tier::Guest && args.in_guest && !has_other_use);
        }
        match tier {
            Tier::Guest => args.in_guest || (!has_keys && !args.quick),
            Tier::NoPku
            | Tier::Release
            | Tier::Docs
            | Tier::Boot
            | Tier::Guarded
            | Tier::Differential => !args.quick,
            _ => true,
        }
    };
    Tier::value_variants()
        .iter()
        .copied()
        .filter(|tier| is_wanted(*tier))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Linux, linux, tiers};
    use clap::Parser;

    /// The arguments of a command line.
    fn parse(line: &str) -> super::Args {
        #[derive(Parser)]
        struct Cli {
            #[command(flatten)]
            test: super::Args,
        }
        let line = ["test"].into_iter().chain(line.split_whitespace());
        Cli::try_parse_from(line).unwrap().test
    }

    /// The tiers for a command line.
    fn plan(line: &str, has_keys: bool) -> String {
        let names: Vec<_> = tiers(&parse(line), has_keys)
            .iter()
            .map(|tier| tier.name())
            .collect();
        names.join(" ")
    }

    #[test]
    fn the_guest_stands_in_for_missing_keys() {
        let all = "fmt shape inventory lint no-std debug no-pku release docs conform boot";
        assert_eq!(plan("", true), format!("{all} guarded differential"));
        assert_eq!(plan("", false), format!("{all} guest guarded differential"));
        assert_eq!(plan("--in-guest", true), plan("", false));
    }

    #[test]
    fn quick_and_tier_choose() {
        let quick = "fmt shape inventory lint no-std debug conform";
        assert_eq!(plan("--quick", false), quick);
        assert_eq!(plan("--quick --in-guest", true), format!("{quick} guest"));
        assert_eq!(plan("--tier docs --tier fmt", false), "fmt docs");
        assert_eq!(plan("--tier guest", true), "guest");
        assert_eq!(plan("--tier fmt --in-guest", true), "fmt guest");
        assert_eq!(plan("--tier conform --in-guest", true), "conform");
        let both = "--tier differential --tier guest --in-guest";
        assert_eq!(plan(both, true), "guest differential");
    }

    #[test]
    fn a_filter_leaves_only_tiers_with_named_tests() {
        assert_eq!(plan("window", true), "debug no-pku release guarded");
        assert_eq!(plan("window", false), "debug no-pku release guest guarded");
        assert_eq!(plan("--quick window", false), "debug");
    }

    #[test]
    fn a_linux_side_runs_where_keys_are() {
        for (line, has_keys, expected) in [
            ("", true, Linux::Here),
            ("", false, Linux::InGuest),
            ("--quick", true, Linux::Here),
            ("--quick", false, Linux::Nowhere),
            ("--in-guest", true, Linux::InGuest),
            ("--quick --in-guest", false, Linux::InGuest),
            ("--tier conform", false, Linux::InGuest),
        ] {
            assert_eq!(linux(&parse(line), has_keys), expected, "{line} {has_keys}");
        }
    }
}
