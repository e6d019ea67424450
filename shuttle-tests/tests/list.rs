//! Goal: eight threads that insert, look up, remove and walk beside each other get right answers,
//! keep the structure whole and leak nothing, under schedules that loom is too thorough to reach.
//! Method: shuttle chooses the thread at every atomic access, at random or by priorities that change
//! a few times (PCT); programs and block sizes are drawn anew for each schedule from fixed seeds.
#![cfg(whimbrel_shuttle)]

use whimbrel_shuttle_tests::{Scheduling, explore, run};

#[test]
fn random() {
    explore("random", Scheduling::Random, 0x5EED_0001, run);
}

#[test]
fn pct_2() {
    explore("pct_2", Scheduling::Pct(2), 0x5EED_0002, run);
}

#[test]
fn pct_3() {
    explore("pct_3", Scheduling::Pct(3), 0x5EED_0003, run);
}

#[test]
fn pct_5() {
    explore("pct_5", Scheduling::Pct(5), 0x5EED_0005, run);
}
