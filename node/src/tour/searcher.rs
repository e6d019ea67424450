//! A client that searches the moving partition all the time: every answer must be right, before,
//! during and after the move.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::board::Board;
use super::error::TourError;
use super::queries;
use super::question::{Answer, Question};
use super::remote;
use super::router::{NODES, Router};
use super::table::Table;

/// Pause between two questions: searching is not what this step measures.
const PAUSE: Duration = Duration::from_millis(5);

/// The searching client.
#[derive(Debug)]
pub(super) struct Searcher {
    table: Arc<Table>,
    asked: Vec<(Question, Answer)>,
    board: Arc<Board>,
    router: Router,
}

impl Searcher {
    /// A client that asks these questions and knows the answers.
    pub(super) fn new(
        table: &Arc<Table>,
        asked: Vec<(Question, Answer)>,
        nodes: [SocketAddr; 2],
        board: &Arc<Board>,
    ) -> Self {
        Self {
            table: Arc::clone(table),
            asked,
            board: Arc::clone(board),
            router: Router::new(nodes),
        }
    }

    /// Asks in turn until the board says stop; gives the number of right answers. The first wrong
    /// one fails the check.
    pub(super) fn run(mut self) -> Result<u64, TourError> {
        let mut searches = 0;
        while !self.board.is_stopped() {
            for (question, expected) in &self.asked {
                let words = remote::words(&self.table, question);
                let words: Vec<&[u8]> = words.iter().map(String::as_bytes).collect();
                let reply = self.router.call(&words)?;
                let got = remote::answer(&self.table, question, &reply).ok_or_else(|| {
                    TourError::Node {
                        node: NODES[self.router.at()],
                        cause: format!("answered the question {:?} with {reply:?}", question.title),
                    }
                })?;
                queries::compare("search-while-moving", question, expected, &got)?;
                searches += 1;
                thread::sleep(PAUSE);
            }
        }
        Ok(searches)
    }
}
