//! Quantities as people read them: rounded, at most four characters and a unit.

use std::time::Duration;

/// `0`, `812K`, `1.5M`, `12M`, `3.4G`: powers of 1024.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["", "K", "M", "G", "T", "P"];
    // Tenths, in whole numbers: a float would round 1023.96K to 1024K.
    let mut tenths = u128::from(bytes) * 10;
    let mut unit = 0;
    while tenths >= 10_235 && unit + 1 < UNITS.len() {
        tenths = (tenths + 512) / 1024;
        unit += 1;
    }
    if unit == 0 || tenths >= 100 {
        format!("{}{}", (tenths + 5) / 10, UNITS[unit])
    } else {
        format!("{}.{}{}", tenths / 10, tenths % 10, UNITS[unit])
    }
}

/// The two largest units: `42s`, `5m 2s`, `3h 12m`, `4d 3h`.
pub(crate) fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, minutes) => format!("{minutes}m {}s", seconds % 60),
        (0, hours, minutes) => format!("{hours}h {minutes}m"),
        (days, hours, _) => format!("{days}d {hours}h"),
    }
}

/// Processor time: `0.42s`, `12.3s`, then as [`span`].
pub(crate) fn cpu(span: Duration) -> String {
    match span.as_secs() {
        0..10 => format!("{:.2}s", span.as_secs_f64()),
        10..60 => format!("{:.1}s", span.as_secs_f64()),
        _ => self::span(span),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_three_digits_at_most() {
        for (bytes, text) in [
            (0, "0"),
            (1023, "1023"),
            (1024, "1.0K"),
            (1536, "1.5K"),
            (10 << 10, "10K"),
            (1023 << 10, "1023K"),
            ((1 << 20) - 1, "1.0M"),
            (3 << 29, "1.5G"),
            (u64::MAX, "16384P"),
        ] {
            assert_eq!(self::bytes(bytes), text);
        }
    }

    #[test]
    fn spans_have_two_units() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (62, "1m 2s"),
            (3600, "1h 0m"),
            (90_000, "1d 1h"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
        assert_eq!(cpu(Duration::from_millis(420)), "0.42s");
        assert_eq!(cpu(Duration::from_millis(12_345)), "12.3s");
    }
}
