use proptest::prelude::*;

use super::*;

fn times(line: &str) -> Times {
    Times::new(&line.parse().unwrap()).unwrap()
}

fn at(time: &str) -> i64 {
    time.parse::<Timestamp>().unwrap().as_second()
}

/// The first times of a line after a time.
fn first(line: &str, after: &str, count: usize) -> Vec<String> {
    let times = times(line);
    let mut time = at(after);
    let mut found = Vec::new();
    for _ in 0..count {
        time = times.after(time).unwrap();
        found.push(Timestamp::from_second(time).unwrap().to_string());
    }
    found
}

#[test]
fn fields_and_names() {
    for (line, after, want) in [
        (
            "*/20 * * * * UTC",
            "2026-11-27T10:20:00Z",
            &["2026-11-27T10:40:00Z", "2026-11-27T11:00:00Z"][..],
        ),
        (
            "*/20 * * * * UTC",
            "2026-11-27T10:19:59Z",
            &["2026-11-27T10:20:00Z"],
        ),
        (
            "@hourly UTC",
            "2026-11-27T10:20:00Z",
            &["2026-11-27T11:00:00Z"],
        ),
        (
            "@yearly UTC",
            "2026-11-27T10:20:00Z",
            &["2027-01-01T00:00:00Z"],
        ),
        (
            "5 4 * * SUN UTC",
            "2026-11-27T10:20:00Z",
            &["2026-11-29T04:05:00Z", "2026-12-06T04:05:00Z"],
        ),
        // A day of the month or one of the week, as cron(8) has it.
        (
            "0 0 1 * MON UTC",
            "2026-11-27T10:20:00Z",
            &[
                "2026-11-30T00:00:00Z",
                "2026-12-01T00:00:00Z",
                "2026-12-07T00:00:00Z",
            ],
        ),
        (
            "0 0 29 2 * UTC",
            "2096-03-01T00:00:00Z",
            &["2104-02-29T00:00:00Z"],
        ),
        (
            "0 0 31 * * UTC",
            "2026-11-27T10:20:00Z",
            &[
                "2026-12-31T00:00:00Z",
                "2027-01-31T00:00:00Z",
                "2027-03-31T00:00:00Z",
            ],
        ),
    ] {
        assert_eq!(first(line, after, want.len()), want, "{line}");
    }
}

/// Of 2026 in Berlin, clocks go from 2 to 3 on 29 March, and from 3 to 2 on 25 October.
#[test]
fn clocks_that_are_put_forward_and_back() {
    let berlin = "Europe/Berlin";
    for (line, after, want) in [
        // What is left out is made up for.
        (
            "30 2 * * *",
            "2026-03-28T12:00:00Z",
            &["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"][..],
        ),
        // What comes twice counts once.
        (
            "30 2 * * *",
            "2026-10-24T12:00:00Z",
            &["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"],
        ),
        // What goes by the hour goes on.
        (
            "0 * * * *",
            "2026-03-29T00:00:00Z",
            &["2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z"],
        ),
        (
            "0 * * * *",
            "2026-10-24T23:30:00Z",
            &[
                "2026-10-25T00:00:00Z",
                "2026-10-25T01:00:00Z",
                "2026-10-25T02:00:00Z",
            ],
        ),
        (
            "0 9 * * *",
            "2026-10-24T12:00:00Z",
            &["2026-10-25T08:00:00Z"],
        ),
        (
            "0 9 * * *",
            "2026-10-23T12:00:00Z",
            &["2026-10-24T07:00:00Z"],
        ),
    ] {
        assert_eq!(
            first(&format!("{line} {berlin}"), after, want.len()),
            want,
            "{line}"
        );
    }
}

#[test]
fn what_has_come() {
    let hourly = times("0 * * * * UTC");
    let (ten, eleven) = (at("2026-11-27T10:00:00Z"), at("2026-11-27T11:00:00Z"));
    let due = |latest, before| Due { latest, before };
    assert_eq!(hourly.due(ten, ten), due(None, 0));
    assert_eq!(hourly.due(ten, eleven - 1), due(None, 0));
    assert_eq!(hourly.due(ten, eleven), due(Some(eleven), 0));
    assert_eq!(hourly.due(ten - 1, eleven + 59), due(Some(eleven), 1));
    assert_eq!(hourly.due(eleven, ten), due(None, 0));
    // Nobody waits until all are counted.
    let all = times("* * * * * UTC");
    let year = at("2027-11-27T10:00:30Z");
    assert_eq!(all.due(ten, year), due(Some(year - 30), MOST_COUNTED));
}

#[test]
fn what_has_no_times() {
    for (line, says) in [
        ("60 * * * *", "\"60 * * * *\" is no cron expression"),
        ("* * * * FUNDAY", "is no cron expression"),
        ("@reboot", "\"@reboot\" is no cron expression"),
        (
            "* * * * * Europe/Atlantis",
            "no time zone \"Europe/Atlantis\"",
        ),
        ("0 0 30 2 *", "\"0 0 30 2 *\" never comes"),
    ] {
        let error = Times::new(&line.parse().unwrap()).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}

proptest! {
    /// Going on from time to time finds the same as looking at each minute.
    #[test]
    fn same_as_minute_by_minute(
        step in 1_u32..60,
        hour in 0_u32..24,
        begin in 0_i64..2_000_000_000,
        zone in prop::sample::select(vec!["UTC", "Europe/Berlin", "Asia/Kathmandu"]),
    ) {
        let times = times(&format!("*/{step} {hour} * * * {zone}"));
        let end = begin + 86_400;
        let zone = TimeZone::get(zone).unwrap();
        let matches = |time: &i64| {
            let at = Timestamp::from_second(*time).unwrap().to_zoned_datetime(zone.clone());
            at.second() == 0
                && u32::from(at.hour().unsigned_abs()) == hour
                && u32::from(at.minute().unsigned_abs()).is_multiple_of(step)
        };
        let minutes = (begin - begin.rem_euclid(60)..=end).step_by(60);
        let want: Vec<_> = minutes.filter(|time| *time > begin).filter(matches).collect();
        let mut found = Vec::new();
        let mut time = begin;
        while let Some(next) = times.after(time).filter(|next| *next <= end) {
            found.push(next);
            time = next;
        }
        // (On days on which clocks are put forward or back, that is not all there is to it.)
        let offset = |time| Timestamp::from_second(time).unwrap().to_zoned_datetime(zone.clone()).offset();
        if offset(begin) == offset(end) {
            let due = times.due(begin, end);
            prop_assert_eq!(due.latest, want.last().copied());
            prop_assert_eq!(due.before, want.len().saturating_sub(1) as u64);
            prop_assert_eq!(found, want);
        }
    }
}
