//! `enforcer report`: what events tell, as a page.
//!
//! A file is cut into [`pieces`], in each of which [`call`]s are found whatever form they were sent in. They are counted
//! ([`tally`], [`timeline`], [`ranking`], [`histogram`]) in memory that does not grow with the file. What comes of
//! it ([`model`]) is written as one HTML file that needs nothing else ([`page`], [`charts`], [`html`]).

pub mod call;
pub mod charts;
pub mod histogram;
pub mod html;
pub mod model;
pub mod page;
pub mod pieces;
pub mod ranking;
pub mod tally;
pub mod time;
pub mod timeline;

use std::io::{self, BufRead};

use self::{call::Found, pieces::Pieces, tally::Tally};

/// Counts all events of an input. `name` is what it is called in the report.
pub fn read(input: impl BufRead, name: &str, tally: &mut Tally) -> io::Result<()> {
    tally.source(name);
    let mut pieces = Pieces::new(input);
    while let Some((line, piece)) = pieces.piece()? {
        match call::find(&piece) {
            Found::Calls(calls) => calls.iter().for_each(|call| tally.call(call)),
            Found::Nothing => tally.other(),
            Found::Bad(why) => tally.bad(line, why),
        }
    }
    Ok(())
}
