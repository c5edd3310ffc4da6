//! The checks: functions that panic where an address space differs from Linux.

pub(crate) mod basics;
pub(crate) mod copies;
pub(crate) mod cow;
pub(crate) mod faults;
pub(crate) mod flushes;
pub(crate) mod huge;
pub(crate) mod key_page;
pub(crate) mod merging;
mod model;
pub(crate) mod order;
pub(crate) mod random;
mod rig;
pub(crate) mod shortage;
pub(crate) mod tables;

/// Calls a macro with the list of all checks.
macro_rules! each_check {
    ($run:ident) => {
        $run! {
            flushes: rights_that_are_taken_away_are_gone_on_every_cpu
                rights_that_are_given_are_there_on_every_cpu
                what_is_unmapped_moved_or_dropped_is_out_of_reach
                neither_side_of_a_fork_writes_to_what_the_other_sees a_forced_write_reaches_every_cpu
                only_cpus_that_run_the_space_are_disturbed
                a_stale_entry_is_forgotten_by_the_fault_it_causes
                a_space_that_a_cpu_still_runs_gives_nothing_back;
            cow: each_side_keeps_its_own_whoever_writes_first the_last_owner_writes_in_place
                shared_memory_is_one_for_both a_page_that_was_only_read_costs_nothing
                pages_survive_prot_none_and_a_fork_under_it a_child_has_the_keys_of_its_parent;
            faults: every_protection_and_key_gives_the_same_with_and_without_a_page
                each_fault_looks_the_mapping_up_once
                a_fault_is_answered_by_the_mapping_as_it_is_by_then
                addresses_outside_of_the_users_part_are_not_mapped
                without_keys_every_mapping_has_key_0_and_no_fault_names_one
                execute_only_memory_runs_and_cannot_be_read
                a_read_of_shared_memory_brings_in_what_is_near_whatever_comes_of_it;
            shortage: a_fault_that_finds_no_memory_can_be_tried_again
                a_copy_that_finds_no_memory_leaves_the_page
                a_fork_that_finds_no_memory_leaves_the_parent_alone
                a_move_that_finds_no_memory_moves_nothing
                copies_and_populating_stop_where_memory_ends
                the_page_of_keys_and_new_spaces_need_memory;
            tables: a_part_of_a_larger_page_is_split_off
                a_split_that_finds_no_memory_changes_nothing frames_come_only_out_of_a_flush
                modes_are_what_the_processor_sees;
            huge: keys_hold_on_leaves_of_both_sizes
                a_huge_page_is_changed_as_a_whole_or_not_at_all a_mapping_is_promised_its_pages
                a_fork_shares_huge_pages_and_gets_no_promises
                dropped_pages_that_a_child_keeps_break_the_promise;
            copies: a_copy_stops_at_the_byte_that_is_denied
                a_copy_brings_pages_in_and_ends_with_the_users_part
                somebody_else_goes_by_the_mapping_and_not_by_the_key
                somebody_else_stops_at_a_hole_to_the_byte
                pages_that_are_handed_over_are_asked_for_their_key;
            key_page: the_page_shows_every_change_of_the_map nobody_writes_to_the_page
                there_is_one_page_wherever_it_goes a_child_has_a_page_of_its_own
                the_layout_is_the_one_that_user_space_has;
            merging: neighbours_that_are_equal_are_one keys_and_seals_keep_neighbours_apart
                what_was_moved_is_known_by_where_it_was_mapped
                families_of_pages_decide_with_their_oddities
                a_childs_mappings_are_joined_less_freely
                a_mapping_grows_where_it_ends_and_there_is_room mremap_takes_the_key_along
                addresses_are_found_from_the_top_down smaps_says_what_linux_says;
            order: pkey_mprotect_checks_in_linux_order a_hole_ends_mprotect_and_leaves_what_was_done
                mmap_checks_in_linux_order mremap_checks_in_linux_order
                munmap_madvise_and_mseal_check_in_linux_order;
            random: random_programs_agree_with_the_model;
            basics: mapped_memory_is_zero_and_keeps_what_is_written a_key_denies_what_the_register_says;
        }
    };
}

pub(crate) use each_check;
