//! The checks: functions that panic where supervisor keys differ from a model.

pub(crate) mod answers;
mod arena;
mod bare;
mod chance;
pub(crate) mod counts;
mod events;
mod explore;
pub(crate) mod faults;
pub(crate) mod interleavings;
mod life;
pub(crate) mod modes;
pub(crate) mod pardons;
mod programs;
pub(crate) mod registry;
pub(crate) mod steps;
mod system;
mod toy;
mod watched;
mod world;

/// Calls a macro with the list of all checks.
macro_rules! each_check {
    ($run:ident) => {
        $run! {
            counts: a_cpu_starts_with_one_write a_switch_writes_only_between_different_rights
                an_exception_writes_only_around_open_code
                a_nested_grant_that_adds_nothing_writes_nothing
                grants_in_any_order_agree_with_a_list;
            registry: key_0_is_refused_whatever_it_comes_as the_table_gives_numbers_and_rights
                exhaustion_names_the_holders a_key_in_use_is_not_given_back
                a_key_that_a_thread_has_open_is_not_given_back calls_in_any_order_agree_with_a_list;
            modes: options_set_what_they_name off_opens_the_keys_of_its_knob
                a_change_reaches_saved_contexts_and_takes_no_grant each_site_is_told_of_once;
            answers: a_report_reads_as_a_sentence
                a_callback_opens_and_closes_in_the_context_that_faulted
                an_instruction_that_cannot_be_read_pardons_the_context;
            faults: every_fault_agrees_with_the_rules;
            pardons: a_pardon_ends_with_each_of_its_events lives_by_chance_agree_with_a_model;
            steps: programs_by_chance_do_not_notice;
            interleavings: grants grants_while_a_mode_comes_on switches entries faults_with_a_callback pardons_for_the_context
                pardons_for_an_instruction;
        }
    };
}

pub(crate) use each_check;
