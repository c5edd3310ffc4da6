//! The checks: functions that panic where the kernel differs from Linux.

pub(crate) mod altstack;
pub(crate) mod clocks;
pub(crate) mod descriptors;
pub(crate) mod exceptions;
pub(crate) mod files;
pub(crate) mod frames;
pub(crate) mod futexes;
pub(crate) mod limits;
pub(crate) mod mapped;
pub(crate) mod memfd;
pub(crate) mod names;
pub(crate) mod pkru;
pub(crate) mod processes;
mod rig;
pub(crate) mod startup;
pub(crate) mod threads;
pub(crate) mod tracing;
pub(crate) mod waits;

/// Calls a macro with the list of all checks.
macro_rules! each_check {
    ($run:ident) => {
        $run! {
            altstack:
                handlers_that_want_it_run_on_it_and_nested_ones_further_down
                one_that_is_too_small_for_a_frame_ends_in_sigsegv
                one_that_disarms_itself_is_gone_during_the_handler
                a_return_sets_what_the_frame_says_unless_the_handler_is_on_it
                a_thread_has_none_and_a_child_process_has_its_parents;
            clocks:
                clocks_count_from_1970_or_from_the_start
                without_a_clock_there_is_no_time
                a_sleep_ends_when_its_time_has_come
                several_sleepers_wake_in_the_order_of_their_times
                a_handler_ends_a_sleep_and_tells_what_was_left
                a_stop_does_not_make_a_sleep_longer
                sleeps_are_checked_in_linuxs_order
                who_ends_while_it_sleeps_leaves_no_time_behind;
            descriptors:
                copies_are_one_opening_under_several_numbers
                flags_belong_to_a_number_or_to_what_it_stands_for
                a_descriptor_says_what_it_is
                several_buffers_are_one_call
                a_long_write_of_several_buffers_goes_on
                bytes_go_both_ways_between_sockets
                sockets_are_checked_in_linuxs_order
                a_read_of_a_socket_waits_no_longer_than_it_was_told
                a_poll_says_what_can_be_done
                a_poll_waits_for_any_of_several;
            exceptions:
                each_exception_has_its_signal
                floating_point_exceptions_say_what_they_are
                an_exception_without_a_handler_ends_the_process
                who_wants_memory_that_there_is_not_is_killed;
            files:
                bytes_go_through_a_pipe
                a_full_pipe_makes_writers_wait_and_a_long_write_goes_on
                keys_are_in_effect_for_the_kernels_accesses
                copies_end_where_the_memory_does
                descriptors_are_the_lowest_and_have_an_end
                a_word_in_memory_is_waited_for_and_woken
                a_futex_asks_the_keys_as_far_as_it_looks
                other_processes_memory_has_no_keys;
            frames:
                a_handler_starts_with_linuxs_registers_and_all_come_back
                the_frame_says_what_the_fault_was
                masks_hold_while_a_handler_runs_and_come_back
                handlers_nest_and_the_last_runs_first
                signals_that_cannot_be_delivered_end_the_process
                a_stack_that_cannot_be_written_ends_in_sigsegv
                without_siginfo_the_space_for_it_is_left_alone
                a_return_cannot_get_what_user_mode_must_not_have
                a_return_from_nowhere_is_sigsegv;
            futexes:
                a_wait_with_a_limit_ends_by_it
                who_is_woken_in_time_does_not_time_out
                bits_choose_who_is_woken
                waiters_are_moved_behind_those_of_the_other_word
                a_thread_that_ends_marks_its_locks
                a_list_that_is_none_ends_somewhere
                a_lock_behind_a_closed_key_stays_as_it_is
                who_is_killed_while_it_waits_marks_its_locks
                a_list_is_set_and_told;
            limits:
                every_bad_pointer_is_efault
                a_status_that_cannot_be_told_is_lost
                there_is_an_end_to_threads_and_memory
                queues_have_an_end
                wrong_arguments_of_the_signal_calls
                random_calls_break_nothing;
            mapped:
                a_descriptor_says_what_its_mappings_may_be
                mappings_show_the_file_and_private_ones_keep_their_copies
                behind_the_end_of_a_file_is_sigbus
                read_faults_bring_in_what_a_file_has_nearby
                mappings_of_a_file_are_one_where_it_goes_on
                a_file_goes_with_the_last_that_has_it;
            memfd:
                files_are_read_and_written_through_descriptors
                an_opening_has_rights_and_a_position
                a_file_that_fills_the_memory_is_told_so;
            names:
                paths_lead_nowhere_but_to_the_process_itself
                a_process_reads_its_mappings
                a_process_reads_and_writes_its_memory_past_its_keys
                a_process_knows_its_program;
            pkru:
                a_handler_starts_with_the_initial_value_and_gives_the_old_one_back
                what_a_handler_writes_into_its_frame_decides
                a_frame_that_xrstor_refuses_is_sigsegv
                a_frame_goes_onto_a_stack_whose_key_is_closed
                pkru_after_a_frame_that_failed
                children_inherit_and_programs_start_anew
                another_initial_value_is_everybodys
                without_keys_the_register_is_never_touched
                only_what_a_frame_claims_to_have_must_be_there;
            processes:
                a_parent_hears_how_its_children_ended
                waiting_blocks_until_a_child_ends
                a_signal_ends_the_waiting_or_lets_it_start_over
                sigchld_tells_of_the_end_and_ignoring_it_leaves_no_zombie
                orphans_are_the_first_processs
                a_program_gets_its_arguments_and_nothing_of_the_old_one
                a_program_that_cannot_be_had_changes_nothing
                of_several_threads_the_caller_stays_under_the_processs_number
                of_two_threads_that_want_another_program_the_first_gets_it
                stops_and_their_end_are_told_to_those_who_ask
                nothing_is_left_of_processes_that_have_ended
                ends_that_bring_about_other_ends_are_no_danger;
            startup:
                bases_belong_to_a_thread_and_survive_signals
                a_heap_grows_and_shrinks_at_its_end
                a_program_learns_where_it_is
                threads_have_names
                a_child_can_die_with_its_parent
                limits_are_told_and_those_that_are_kept_can_be_changed
                random_bytes_come_from_the_kernel_around
                a_thread_is_made_the_new_way
                what_is_not_there_is_named
                a_program_can_be_the_first;
            threads:
                a_switch_loads_only_what_differs
                registers_travel_with_their_threads
                a_new_thread_has_what_clone_was_told
                get_and_set_take_no_lock
                get_and_set_check_flags_rights_and_key
                the_watchdog_looks_at_the_thread_that_runs_and_at_no_other
                signals_find_the_thread_they_were_sent_to
                sending_is_checked_in_linuxs_order
                a_group_exit_ends_threads_wherever_they_are
                the_last_thread_decides_the_status;
            tracing:
                a_tracer_sees_and_sets_pkru
                a_tracer_sees_and_sets_registers
                a_tracer_reaches_memory_behind_closed_keys
                a_signal_is_the_tracers_before_it_is_the_threads
                a_seized_thread_runs_until_it_is_interrupted
                who_may_trace_whom
                a_tracer_that_is_not_the_parent_hears_of_the_end_first;
            waits:
                a_pause_ends_with_a_handler_and_nothing_else
                a_suspend_has_another_mask_for_as_long_as_it_waits
                a_signal_that_is_waited_for_is_taken_and_not_handled
                a_wait_for_a_signal_has_a_limit_and_other_signals_end_it;
        }
    };
}

pub(crate) use each_check;
