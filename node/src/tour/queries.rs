//! Step 2: answers questions from the indexes and compares each answer with a plain scan.

use std::time::{Duration, Instant};

use super::context::Tour;
use super::engine::{Db, View};
use super::error::TourError;
use super::question::{Answer, Hit, Question, SHOWN, Wanted};
use super::report::Query;
use super::states::States;

/// How often each question is asked; the median time is reported.
const RUNS: usize = 7;

/// Columns of a printed row.
const COLUMNS_SHOWN: usize = 6;

/// Asks all questions, prints the rows and checks them.
pub(super) fn step(tour: &mut Tour, db: &Db) -> Result<(), TourError> {
    tour.screen.step(2, "answer questions, each checked against a scan of all records");
    let view = db.view()?;
    let loaded = States::loaded(&tour.table);
    for question in &tour.questions {
        let (answer, time) = ask(tour, &view, question)?;
        let start = Instant::now();
        let expected = loaded.answer(&tour.table, question);
        let scanned = start.elapsed();
        compare("query", question, &expected, &answer)?;
        show(tour, question, &answer, time, scanned);
        tour.report.queries.push(Query {
            name: question.name,
            question: question.title.clone(),
            rows: answer.count,
            micros: micros(time),
        });
    }
    Ok(())
}

/// Asks all questions of `view` and compares with what `states` say.
pub(super) fn compare_all(
    tour: &Tour,
    check: &'static str,
    view: &View,
    states: &States,
) -> Result<(), TourError> {
    for question in &tour.questions {
        let expected = states.answer(&tour.table, question);
        let got = view.answer(&tour.table, question)?;
        compare(check, question, &expected, &got)?;
    }
    Ok(())
}

/// Fails the check when the answers differ, naming the first difference.
pub(super) fn compare(
    check: &'static str,
    question: &Question,
    expected: &Answer,
    got: &Answer,
) -> Result<(), TourError> {
    if expected == got {
        return Ok(());
    }
    let at = expected.hits.iter().zip(&got.hits).take_while(|(a, b)| a == b).count();
    let words = |answer: &Answer| {
        let row = answer.hits.get(at).map_or_else(|| "none".to_owned(), Hit::to_string);
        format!("{}: {} rows, row {}: {row}", question.title, answer.count, at + 1)
    };
    Err(TourError::Check { check, expected: words(expected), got: words(got) })
}

fn ask(tour: &Tour, view: &View, question: &Question) -> Result<(Answer, Duration), TourError> {
    let mut times = Vec::with_capacity(RUNS);
    let mut first: Option<Answer> = None;
    for _ in 0..RUNS {
        let start = Instant::now();
        let answer = view.answer(&tour.table, question)?;
        times.push(start.elapsed());
        match &first {
            None => first = Some(answer),
            Some(known) => compare("query-repeated", question, known, &answer)?,
        }
    }
    times.sort_unstable();
    let answer = first.unwrap_or(Answer { count: 0, hits: Vec::new() });
    Ok((answer, times[RUNS / 2]))
}

fn show(tour: &Tour, question: &Question, answer: &Answer, time: Duration, scanned: Duration) {
    let index = tour.table.index_name(question.index);
    tour.screen.say(&format!(
        "\n{}: {} rows through {index} in {:.0} us (the scan: {:.0} us)",
        question.title,
        answer.count,
        micros(time),
        micros(scanned)
    ));
    if question.wanted == Wanted::Count {
        return;
    }
    let columns = shown_columns(tour);
    let header: Vec<&str> =
        columns.iter().map(|&column| tour.table.columns[column].as_str()).collect();
    let rows = answer.hits.iter().take(SHOWN).filter_map(|hit| {
        let row = &tour.table.rows[*tour.ids.get(&hit.id)?];
        Some(columns.iter().map(|&column| row.text(column)).collect())
    });
    tour.screen.table(&header, rows);
    if answer.hits.len() > SHOWN {
        tour.screen.say(&format!("  .. and {} more", answer.hits.len() - SHOWN));
    }
}

/// The indexed columns and a few of the others, in the order of the data.
fn shown_columns(tour: &Tour) -> Vec<usize> {
    let indexed = |column: &usize| {
        tour.table.indexes().iter().any(|&index| tour.table.index_columns(index).contains(column))
    };
    let (first, others): (Vec<usize>, Vec<usize>) =
        (0..tour.table.columns.len()).partition(indexed);
    let mut columns: Vec<usize> = first.into_iter().chain(others).take(COLUMNS_SHOWN).collect();
    columns.sort_unstable();
    columns
}

fn micros(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e7).round() / 10.0
}
