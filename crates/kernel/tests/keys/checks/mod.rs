//! The checks: functions that panic where the key parts differ from a model.

pub(crate) mod alloc;
pub(crate) mod events;
pub(crate) mod get_set;
pub(crate) mod judge;
mod model;
pub(crate) mod protect;
pub(crate) mod set;
pub(crate) mod ticks;
pub(crate) mod watchdog;

/// Calls a macro with the list of all checks.
macro_rules! each_check {
    ($run:ident) => {
        $run! {
            set: every_key_with_all_rights_and_neighbours only_what_differs_is_written;
            alloc: rights_go_to_the_new_key_only calls_in_any_order_agree_with_linux
                arguments_are_checked_before_anything_happens a_fork_is_a_copy_and_no_more
                without_keys_the_first_call_differs;
            judge: every_fault_agrees_with_linux every_access_agrees_with_the_register;
            events: each_event_gives_linux_value switches_write_only_what_differs
                threads_and_events_in_any_order_agree_with_a_model;
            get_set: arguments_are_checked_in_order the_page_answers_as_the_call_does
                a_page_of_another_layout_sends_to_the_call
                a_key_that_becomes_execute_only_is_never_allocated;
            watchdog: any_history_agrees_with_a_model no_right_comes_back_with_a_number
                a_thread_hands_no_stray_right_on;
            ticks: a_tick_at_any_point_loses_no_change a_tick_at_any_point_reports_nothing;
            protect: every_change_of_protection_agrees_with_linux a_new_mapping_agrees_with_linux;
        }
    };
}

pub(crate) use each_check;
