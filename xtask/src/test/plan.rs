//! Which tiers run, in which order.

use super::Args;
use super::tier::Tier;
use clap::ValueEnum;

/// The tiers for these arguments, cheapest first.
pub(super) fn tiers(args: &Args, has_keys: bool) -> Vec<Tier> {
    let is_wanted = |tier: Tier| {
        if args.filter.is_some() && !tier.has_named_tests() {
            return false;
        }
        if !args.tier.is_empty() {
            return args.tier.contains(&tier) || (tier == Tier::Guest && args.in_guest);
        }
        match tier {
            Tier::Guest => args.in_guest || (!has_keys && !args.quick),
            Tier::NoPku | Tier::Release | Tier::Docs => !args.quick,
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
    use super::tiers;
    use clap::Parser;

    /// The tiers for a command line.
    fn plan(line: &str, has_keys: bool) -> String {
        #[derive(Parser)]
        struct Cli {
            #[command(flatten)]
            test: super::Args,
        }
        let line = ["test"].into_iter().chain(line.split_whitespace());
        let cli = Cli::try_parse_from(line).unwrap();
        let names: Vec<_> = tiers(&cli.test, has_keys)
            .iter()
            .map(|tier| tier.name())
            .collect();
        names.join(" ")
    }

    #[test]
    fn the_guest_stands_in_for_missing_keys() {
        let all = "fmt shape inventory lint debug no-pku release docs";
        assert_eq!(plan("", true), all);
        assert_eq!(plan("", false), format!("{all} guest"));
        assert_eq!(plan("--in-guest", true), format!("{all} guest"));
    }

    #[test]
    fn quick_and_tier_choose() {
        let quick = "fmt shape inventory lint debug";
        assert_eq!(plan("--quick", false), quick);
        assert_eq!(plan("--quick --in-guest", true), format!("{quick} guest"));
        assert_eq!(plan("--tier docs --tier fmt", false), "fmt docs");
        assert_eq!(plan("--tier guest", true), "guest");
        assert_eq!(plan("--tier fmt --in-guest", true), "fmt guest");
    }

    #[test]
    fn a_filter_leaves_only_tiers_with_named_tests() {
        assert_eq!(plan("window", true), "debug no-pku release");
        assert_eq!(plan("window", false), "debug no-pku release guest");
        assert_eq!(plan("--quick window", false), "debug");
    }
}
