//! What a bucket without room gives away.
#![expect(clippy::arithmetic_side_effects, reason = "an overflow would fail the test, as it should")]

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;

proptest! {
    /// Whatever is asked, in whatever order: a key is admitted no more often than with unlimited memory, but for
    /// `limit` for each counter that was forgotten; and it is refused no more often, unless that gave it more.
    #[test]
    fn gives_away_a_limit_each_time_at_most(
        limit in 1_u64..6,
        requests in prop::collection::vec((0_u64..12, 0_u64..4_000_000_000), 1..300),
    ) {
        for algorithm in BOTH {
            let rate = rate(algorithm, limit, "20s");
            let (mut bytes, mut clocks, mut evicted, mut given_away) = (Vec::new(), NOW, 0, 0);
            let (mut all, mut favoured) = (HashMap::new(), HashSet::new());
            for (key, elapsed) in &requests {
                clocks.monotonic += elapsed;
                clocks.wall += elapsed;
                let (after, taken) = take(Some(&bytes), &[demand(*key, &rate)], 4, clocks);
                bytes = after;
                evicted += taken.evicted;
                let remembered = rate.take(all.get(key).copied(), 1, clocks);
                match (taken.refused, remembered) {
                    (false, Verdict::Admitted(state)) => {
                        all.insert(*key, state);
                    }
                    (false, Verdict::Refused(_)) => {
                        given_away += 1;
                        favoured.insert(*key);
                    }
                    (true, Verdict::Refused(_)) => {}
                    (true, Verdict::Admitted(_)) => prop_assert!(favoured.contains(key)),
                }
                prop_assert!(given_away <= evicted * limit, "{given_away} for {evicted}");
            }
        }
    }
}
