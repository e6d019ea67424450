//! Goal: the checker refuses what no order explains, saying what is wrong, and accepts what one explains.
//! Method: histories made by hand, each a few operations on two or three keys.

use whimbrel_history::{ABSENT, History, Ingested, Kind, Log, Refusal, Step, check};

/// An operation: kind, from, to, number, steps.
type Made<'s> = (Kind, u64, u64, Option<u64>, &'s [Step]);

/// Operations of threads of their own, and ingests.
fn history(keys: usize, ingests: &[Ingested], ops: &[Made<'_>]) -> History {
    let logs = ops.iter().zip(1..).map(|((kind, from, to, number, steps), thread)| {
        let mut log = Log::new(thread);
        log.record(*kind, (*from, *to), *number, steps.iter().copied());
        log
    });
    let ingests = ingests.iter().zip(100..).map(|(ingest, thread)| {
        let mut log = Log::new(thread);
        log.record_ingest(ingest);
        log
    });
    History::new(vec![ABSENT; keys], logs.chain(ingests))
}

fn accepted(keys: usize, ops: &[Made<'_>]) {
    accepted_beside(&[], keys, ops);
}

fn accepted_beside(ingests: &[Ingested], keys: usize, ops: &[Made<'_>]) {
    let checked = check(&history(keys, ingests, ops)).unwrap_or_else(|refusal| panic!("{refusal}"));
    assert_eq!(checked.operations, ops.len() + 2 * ingests.len());
}

/// Refused, and the explanation has all of these words.
fn refused(keys: usize, ops: &[Made<'_>], words: &[&str]) {
    refused_beside(&[], keys, ops, words);
}

fn refused_beside(ingests: &[Ingested], keys: usize, ops: &[Made<'_>], words: &[&str]) {
    match check(&history(keys, ingests, ops)) {
        Err(Refusal::Violation(violation)) => {
            let text = violation.to_string();
            for word in words {
                assert!(text.contains(word), "{word:?} is not in the explanation:\n{text}");
            }
        }
        other => panic!("expected a violation, got {other:?}"),
    }
}

fn read(key: u16, value: u32) -> Step {
    Step::read(key, value)
}

fn write(key: u16, value: u32) -> Step {
    Step::write(key, value)
}

#[test]
fn overlapping_operations_may_take_effect_in_any_order() {
    use Kind::{Get, Put};
    // Two puts overlap; readers after them see either, and the first put may come last.
    for last in [1, 2] {
        accepted(
            1,
            &[
                (Put, 0, 10, None, &[write(0, 1)]),
                (Put, 1, 9, None, &[write(0, 2)]),
                (Get, 11, 12, None, &[read(0, last)]),
                (Get, 13, 14, None, &[read(0, last)]),
            ],
        );
    }
    // A put that hangs takes effect between two reads; one more read overlaps and sees the old.
    accepted(
        1,
        &[
            (Put, 0, 20, None, &[write(0, 1)]),
            (Get, 1, 2, None, &[read(0, ABSENT)]),
            (Get, 3, 8, None, &[read(0, ABSENT)]),
            (Get, 4, 9, None, &[read(0, 1)]),
            (Get, 10, 11, None, &[read(0, 1)]),
        ],
    );
}

#[test]
fn a_stale_read_is_refused() {
    use Kind::{Get, Put};
    refused(
        3,
        &[
            (Put, 0, 1, None, &[write(2, 1)]),
            (Put, 2, 3, None, &[write(2, 2)]),
            (Get, 4, 5, None, &[read(2, 1)]),
        ],
        &["Get [key 2 was #1] by thread 3 at 4..5", "key 2 holds #2", "stale", "2..3"],
    );
    // Reads that go back, though the write is under way all the time.
    refused(
        1,
        &[
            (Put, 0, 20, None, &[write(0, 1)]),
            (Get, 1, 2, None, &[read(0, 1)]),
            (Get, 3, 4, None, &[read(0, ABSENT)]),
        ],
        &["Get [key 0 was nothing] by thread 3 at 3..4", "key 0 holds #1"],
    );
}

#[test]
fn a_lost_update_is_refused() {
    use Kind::{CompareAndSet, Get, Put, Remove};
    refused(
        1,
        &[
            (Put, 0, 1, None, &[write(0, 1)]),
            (CompareAndSet, 2, 8, None, &[Step::change(0, 1, 2)]),
            (CompareAndSet, 3, 7, None, &[Step::change(0, 1, 3)]),
        ],
        &["key 0 from #1 to #2", "a lost update: #1 was changed by CompareAndSet", "3..7"],
    );
    // One value, removed twice.
    refused(
        1,
        &[
            (Put, 0, 1, None, &[write(0, 1)]),
            (Remove, 2, 8, None, &[Step::change(0, 1, ABSENT)]),
            (Remove, 3, 7, None, &[Step::change(0, 1, ABSENT)]),
        ],
        &["a lost update"],
    );
    // Two changes in a row, though they overlap, and a read of what is between them.
    accepted(
        1,
        &[
            (Put, 0, 1, None, &[write(0, 1)]),
            (CompareAndSet, 2, 8, None, &[Step::change(0, 1, 2)]),
            (CompareAndSet, 3, 7, None, &[Step::change(0, 2, 3)]),
            (Get, 4, 9, None, &[read(0, 2)]),
            (Remove, 5, 6, None, &[Step::differs(0, ABSENT)]),
        ],
    );
}

#[test]
fn a_value_that_nobody_wrote_is_refused() {
    use Kind::{Get, InsertUnique, Put};
    refused(
        2,
        &[(Put, 0, 1, None, &[write(0, 1)]), (Get, 2, 3, None, &[read(1, 1)])],
        &["a value never written: nobody wrote #1 to key 1", "2..3"],
    );
    // Read before it is written.
    refused(
        1,
        &[(Get, 0, 1, None, &[read(0, 1)]), (Put, 2, 3, None, &[write(0, 1)])],
        &["key 0 was #1", "0..1"],
    );
    // "Exists" of a key that was never there.
    refused(1, &[(InsertUnique, 0, 1, None, &[Step::differs(0, ABSENT)])], &["was not nothing"]);
}

#[test]
fn half_a_batch_is_refused() {
    use Kind::{Batch, Get, Snapshot};
    let batch = [write(0, 1), write(1, 2)];
    let shown = [read(0, 1), read(1, ABSENT)];
    refused(
        2,
        &[(Batch, 0, 10, None, &batch), (Snapshot, 4, 5, None, &shown)],
        &["key 1 shows nothing", "half a batch", "key 1 := #2", "0..10"],
    );
    // With the numbers, one key is enough.
    refused(
        2,
        &[(Batch, 0, 10, Some(3), &batch), (Snapshot, 4, 5, Some(3), &shown)],
        &["Batch number 3 [key 1 := #2]", "numbers go back", "Snapshot number 3", "4..5"],
    );
    // Two reads of the newest that see it half: first what is there, then what is not yet.
    refused(
        2,
        &[
            (Batch, 0, 10, Some(3), &batch),
            (Get, 1, 2, None, &[read(0, 1)]),
            (Get, 3, 4, None, &[read(1, ABSENT)]),
        ],
        &["Get [key 1 was nothing] by thread 3 at 3..4", "key 1 holds #2, from Batch number 3"],
    );
    // Half of it overwritten, or read the other way round: fine.
    accepted(
        2,
        &[
            (Batch, 0, 10, Some(3), &batch),
            (Kind::Put, 1, 9, None, &[write(1, 7)]),
            (Get, 1, 2, None, &[read(1, ABSENT)]),
            (Get, 3, 4, None, &[read(0, 1)]),
            (Snapshot, 4, 5, Some(3), &[read(0, 1), read(1, 7)]),
        ],
    );
}

#[test]
fn a_batch_whose_precondition_did_not_hold_is_refused() {
    use Kind::{Batch, Put};
    let ops: &[Made<'_>] = &[
        (Put, 0, 1, None, &[write(0, 1)]),
        (Put, 2, 3, None, &[write(0, 2)]),
        (Batch, 4, 5, Some(1), &[Step::change(0, 1, 3), write(1, 4)]),
    ];
    refused(2, ops, &["key 0 from #1 to #3", "key 0 holds #2", "stale"]);
}

#[test]
fn snapshots_that_are_no_cut_are_refused() {
    use Kind::{Put, Snapshot};
    // It misses what had returned.
    refused(
        2,
        &[
            (Put, 0, 1, None, &[write(0, 1)]),
            (Snapshot, 2, 3, Some(1), &[read(0, ABSENT), read(1, ABSENT)]),
        ],
        &["key 0 shows nothing", "stale"],
    );
    // It shows what was called after it had returned.
    refused(
        2,
        &[
            (Snapshot, 0, 1, Some(1), &[read(0, 1), read(1, ABSENT)]),
            (Put, 2, 3, None, &[write(0, 1)]),
        ],
        &["key 0 shows #1"],
    );
    // Both writes are under way with it, but the second was called after the first had returned.
    refused(
        2,
        &[
            (Snapshot, 0, 20, Some(1), &[read(0, ABSENT), read(1, 2)]),
            (Put, 1, 2, None, &[write(0, 1)]),
            (Put, 3, 4, None, &[write(1, 2)]),
        ],
        &["Snapshot number 1", "0..20"],
    );
    accepted(
        2,
        &[
            (Snapshot, 0, 20, Some(1), &[read(0, 1), read(1, ABSENT)]),
            (Put, 1, 2, None, &[write(0, 1)]),
            (Put, 3, 4, None, &[write(1, 2)]),
        ],
    );
    // Two snapshots that order two independent writes differently.
    refused(
        2,
        &[
            (Put, 0, 20, None, &[write(0, 1)]),
            (Put, 1, 21, None, &[write(1, 2)]),
            (Snapshot, 2, 18, Some(1), &[read(0, 1), read(1, ABSENT)]),
            (Snapshot, 3, 19, Some(1), &[read(0, ABSENT), read(1, 2)]),
        ],
        &["Snapshot number 1"],
    );
}

#[test]
fn numbers_that_go_back_are_refused() {
    use Kind::{Batch, Put, Snapshot};
    // Both overlap with the put and with each other; the one with the lower number sees more.
    for (first, second, good) in [(4, 5, true), (5, 4, false), (4, 4, false)] {
        let ops: &[Made<'_>] = &[
            (Put, 0, 20, None, &[write(0, 1)]),
            (Snapshot, 1, 18, Some(first), &[read(0, ABSENT)]),
            (Snapshot, 2, 19, Some(second), &[read(0, 1)]),
        ];
        if good {
            accepted(1, ops);
        } else {
            refused(1, ops, &["Snapshot number", "numbers go back", "before it"]);
        }
    }
    // The snapshots are of other keys than what is written between them.
    refused(
        2,
        &[
            (Snapshot, 0, 1, Some(4), &[read(0, ABSENT)]),
            (Put, 2, 3, None, &[write(1, 1)]),
            (Snapshot, 4, 5, Some(4), &[read(0, ABSENT), read(1, 1)]),
        ],
        &["Snapshot number 4", "numbers go back"],
    );
    // A batch of number 5 is not for a snapshot of number 4, and is for one of number 5.
    for (number, shown, good) in
        [(4, ABSENT, true), (4, 1, false), (5, 1, true), (5, ABSENT, false)]
    {
        let ops: &[Made<'_>] = &[
            (Batch, 0, 20, Some(5), &[write(0, 1)]),
            (Snapshot, 1, 19, Some(number), &[read(0, shown)]),
        ];
        if good {
            accepted(1, ops);
        } else {
            refused(1, ops, &["numbers go back"]);
        }
    }
}

#[test]
fn absence_is_not_unique_and_still_decided() {
    use Kind::{Get, InsertUnique, Put, Remove};
    // Two removals, and a read of nothing that can only be after the second.
    accepted(
        1,
        &[
            (Put, 0, 1, None, &[write(0, 1)]),
            (Remove, 2, 30, None, &[Step::change(0, 1, ABSENT)]),
            (InsertUnique, 3, 31, None, &[Step::change(0, ABSENT, 2)]),
            (Remove, 4, 32, None, &[Step::change(0, 2, ABSENT)]),
            (Get, 5, 6, None, &[read(0, 2)]),
            (Get, 7, 8, None, &[read(0, ABSENT)]),
        ],
    );
    refused(
        1,
        &[
            (Put, 0, 1, None, &[write(0, 1)]),
            (Remove, 2, 30, None, &[Step::change(0, 1, ABSENT)]),
            (InsertUnique, 3, 31, None, &[Step::change(0, ABSENT, 2)]),
            (Get, 5, 6, None, &[read(0, 2)]),
            (Get, 7, 8, None, &[read(0, ABSENT)]),
        ],
        &["key 0 was nothing", "key 0 holds #2", "7..8"],
    );
}

/// Keys 0 and 1 get the values 1 and 2. Begins at 10..11, is committed at 20..25 with number 5.
fn ingest_of_two() -> Ingested {
    Ingested {
        begun: (10, 11),
        base: None,
        committed: (20, 25),
        number: 5,
        steps: vec![write(0, 1), write(1, 2)],
    }
}

#[test]
fn half_an_ingest_is_refused() {
    use Kind::{Get, Snapshot};
    let ingest = [ingest_of_two()];
    let shown = [read(0, 1), read(1, ABSENT)];
    refused_beside(
        &ingest,
        2,
        &[(Snapshot, 22, 23, None, &shown)],
        &["key 1 shows nothing", "half an ingest", "Ingest number 5 [key 0 := #1, key 1 := #2]"],
    );
    refused_beside(
        &ingest,
        2,
        &[(Get, 21, 22, None, &[read(0, 1)]), (Get, 23, 24, None, &[read(1, ABSENT)])],
        &["Get [key 1 was nothing]", "key 1 holds #2, from Ingest number 5"],
    );
    // Before its commit is called nothing is to be seen.
    refused_beside(&ingest, 2, &[(Get, 12, 13, None, &[read(0, 1)])], &["Get [key 0 was #1]"]);
    // All, or nothing.
    let nothing = [read(0, ABSENT), read(1, ABSENT)];
    let all = [read(0, 1), read(1, 2)];
    accepted_beside(
        &ingest,
        2,
        &[
            (Snapshot, 21, 22, Some(4), &nothing),
            (Snapshot, 23, 24, Some(5), &all),
            (Get, 21, 22, None, &[read(0, ABSENT)]),
            (Get, 23, 24, None, &[read(1, 2)]),
        ],
    );
    // A snapshot of its number sees it.
    refused_beside(&ingest, 2, &[(Snapshot, 21, 22, Some(5), &nothing)], &["numbers go back"]);
}

#[test]
fn an_ingest_loses_to_what_came_after_its_beginning_and_to_nothing_else() {
    use Kind::{Get, Put, Remove};
    let ingest = [ingest_of_two()];
    // Written meanwhile, and seen as the ingest's afterwards; or what came before, as not.
    let won = (Get, 30, 31, None, &[read(0, 1)][..]);
    let lost = (Get, 30, 31, None, &[read(0, 7)][..]);
    for (from, to, wins) in [(0, 1, true), (12, 13, false), (9, 12, true), (9, 12, false)] {
        let put = (Put, from, to, None, &[write(0, 7)][..]);
        accepted_beside(&ingest, 2, &[put, if wins { won } else { lost }]);
    }
    let put = (Put, 12, 13, None, &[write(0, 7)][..]);
    refused_beside(&ingest, 2, &[put, won], &["key 0 was #1", "an ingest over what was written"]);
    let put = (Put, 0, 1, None, &[write(0, 7)][..]);
    refused_beside(&ingest, 2, &[put, lost], &["key 0 was #7", "key 0 holds #1", "stale"]);
    // A removal counts as well, though the key is as absent as it was when the ingest began.
    let gone: &[Made<'_>] = &[
        (Put, 12, 13, None, &[write(0, 7)]),
        (Remove, 14, 15, None, &[Step::change(0, 7, ABSENT)]),
        (Get, 30, 31, None, &[read(1, 2)]),
    ];
    let absent = (Get, 32, 33, None, &[read(0, ABSENT)][..]);
    accepted_beside(&ingest, 2, &[gone, &[absent][..]].concat());
    refused_beside(&ingest, 2, &[gone, &[won][..]].concat(), &["key 0 was #1"]);
    // The hold that it began with has a number: what a later snapshot did not see came after it.
    let based = [Ingested { begun: (0, 11), base: Some(3), ..ingest_of_two() }];
    let ops: &[Made<'_>] = &[
        (Put, 1, 9, None, &[write(0, 7)]),
        (Kind::Snapshot, 0, 12, Some(3), &[read(0, ABSENT), read(1, ABSENT)]),
    ];
    accepted_beside(&based, 2, &[ops, &[lost][..]].concat());
    refused_beside(&based, 2, &[ops, &[won][..]].concat(), &["key 0 was #1"]);
}

#[test]
fn an_ingest_behind_writes_what_is_absent_only() {
    use Kind::{Get, Put};
    let steps = vec![Step::change(0, ABSENT, 1), Step::change(1, ABSENT, 2)];
    let ingest = [Ingested { steps, ..ingest_of_two() }];
    let after = (Get, 30, 31, None, &[read(1, 2)][..]);
    accepted_beside(&ingest, 2, &[(Put, 12, 13, None, &[write(0, 7)]), after]);
    refused_beside(&ingest, 2, &[(Put, 0, 1, None, &[write(0, 7)]), after], &["Ingest number 5"]);
}

#[test]
fn a_batch_with_a_precondition_may_be_a_write_before_it_has_its_number() {
    use Kind::{Batch, Get, Put};
    let ingest = [ingest_of_two()];
    let after = (Get, 30, 31, None, &[read(0, 7)][..]);
    let put = (Put, 0, 1, None, &[write(0, 7)][..]);
    // It failed, and has touched its first key or not; of another key it makes no difference.
    let failed = (Batch, 12, 22, None, &[Step::differs(0, 8)][..]);
    accepted_beside(&ingest, 2, &[put, failed, after]);
    accepted_beside(&ingest, 2, &[put, failed, (Get, 30, 31, None, &[read(0, 1)])]);
    let failed = (Batch, 12, 22, None, &[Step::differs(1, 8)][..]);
    refused_beside(&ingest, 2, &[put, failed, after], &["key 0 holds #1"]);
    // It ended before the ingest began.
    let failed = (Batch, 2, 3, None, &[Step::differs(0, 8)][..]);
    refused_beside(&ingest, 2, &[put, failed, after], &["key 0 holds #1"]);
    // It took effect after the ingest, by what had been there before that.
    let done = (Batch, 12, 28, Some(6), &[Step::change(0, 7, 9)][..]);
    accepted_beside(&ingest, 2, &[put, done, (Get, 26, 27, None, &[read(0, 7)])]);
}
