//! Time: clocks and flags.
//!
//! Source: Linux `include/uapi/linux/time.h`.

constants! { u64:
    /// Nanoseconds in a second.
    NSEC_PER_SEC = 1_000_000_000;
}

constants! { i32:
    /// `CLOCK_REALTIME`: the time since 1970.
    CLOCK_REALTIME = 0;
    /// `CLOCK_MONOTONIC`: the time since the machine was started.
    CLOCK_MONOTONIC = 1;
    /// `CLOCK_MONOTONIC_RAW`: the same, where nobody adjusts it.
    CLOCK_MONOTONIC_RAW = 4;
    /// `CLOCK_REALTIME_COARSE`: [`CLOCK_REALTIME`], where a tick's resolution will do.
    CLOCK_REALTIME_COARSE = 5;
    /// `CLOCK_MONOTONIC_COARSE`: [`CLOCK_MONOTONIC`], where a tick's resolution will do.
    CLOCK_MONOTONIC_COARSE = 6;
    /// `CLOCK_BOOTTIME`: [`CLOCK_MONOTONIC`], suspended time included.
    CLOCK_BOOTTIME = 7;
    /// `CLOCK_TAI`: [`CLOCK_REALTIME`] without leap seconds.
    CLOCK_TAI = 11;
}

constants! { u32:
    /// `TIMER_ABSTIME`: a time to wait for, and not how long.
    TIMER_ABSTIME = 1;
}
