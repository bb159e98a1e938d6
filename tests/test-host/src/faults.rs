//! Faults on purpose: what the database does to a component when something is amiss.
//!
//! A server starts without any, and the binary offers no way to plan one: a test does, through
//! [`crate::sqlite::Database::faults`]. Each fault takes the form in which Spin would pass it on, so a
//! plan can bring about nothing that production cannot.

use std::ops::RangeInclusive;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::sqlite::Error;

/// Where in the life of a statement a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// The guest opens a connection.
    Open,
    /// It hands over a statement; a file that cannot be opened shows here, since SQLite opens it late.
    Execute,
    /// SQLite prepares the statement; an error arrives in the result, behind an empty stream.
    Prepare,
    /// A row is about to be handed over; an error arrives in the result, behind the rows before it.
    Row,
    /// Every row has been handed over, the result has not.
    End,
}

impl Point {
    /// Every point, in the order in which a statement passes them.
    pub const ALL: [Self; 5] = [
        Self::Open,
        Self::Execute,
        Self::Prepare,
        Self::Row,
        Self::End,
    ];
}

/// What happens at a point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// An error with this text, as SQLite words it.
    Fail(String),
    /// The connection is gone, for this statement and every later one.
    Gone,
    /// Nothing for so long, and then everything as usual.
    Delay(Duration),
    /// Nothing until [`Faults::release`], and then everything as usual: a test does something else meanwhile.
    Hold,
    /// The guest traps: the host's function fails, or the statement's thread panics and takes the result
    /// and the connection with it, as it does in Spin over text that is not UTF-8.
    Trap,
}

/// The faults planned for a database, and how often each point has been passed. A handle: clones share it.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<Mutex<Plan>>);

#[derive(Debug, Default)]
struct Plan {
    faults: Vec<(Point, RangeInclusive<usize>, Fault)>,
    passed: [usize; Point::ALL.len()],
    struck: usize,
    holding: bool,
}

/// How often what is held looks whether it may go on.
const LOOK: Duration = Duration::from_micros(100);

impl Faults {
    /// Plans `fault` for the passes `nth` of a point, over all connections, the first one from here on
    /// being 1.
    pub fn plan(&self, point: Point, nth: RangeInclusive<usize>, fault: Fault) {
        let mut plan = self.lock();
        plan.passed = Default::default();
        plan.faults.push((point, nth, fault));
    }

    /// Drops every fault and counts from the start again.
    pub fn clear(&self) {
        *self.lock() = Plan::default();
    }

    /// How often `point` has been passed since counting started.
    pub fn passed(&self, point: Point) -> usize {
        self.lock().passed[point as usize]
    }

    /// How often a fault has struck since the plan was last cleared.
    pub fn struck(&self) -> usize {
        self.lock().struck
    }

    /// Drops every fault, but lets go of nothing that is being held.
    pub fn no_more(&self) {
        self.lock().faults.clear();
    }

    /// Whether a statement is being held.
    pub fn is_holding(&self) -> bool {
        self.lock().holding
    }

    /// Lets the statement that is being held go on.
    pub fn release(&self) {
        self.lock().holding = false;
    }

    fn lock(&self) -> MutexGuard<'_, Plan> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a pass of `point` and says what is planned for it.
    fn next(&self, point: Point) -> Option<Fault> {
        let mut plan = self.lock();
        plan.passed[point as usize] += 1;
        let pass = plan.passed[point as usize];
        let mut faults = plan.faults.iter();
        let planned = faults.find(|(p, nth, _)| *p == point && nth.contains(&pass));
        let fault = planned.map(|(_, _, fault)| fault.clone());
        plan.struck += usize::from(fault.is_some());
        plan.holding |= fault == Some(Fault::Hold);
        fault
    }

    /// Passes a point at which the guest is calling the host.
    pub(crate) async fn pass(&self, point: Point) -> wasmtime::Result<Result<(), Error>> {
        match self.next(point) {
            None => Ok(Ok(())),
            Some(Fault::Fail(message)) => Ok(Err(Error::Io(message))),
            Some(Fault::Gone) => Ok(Err(Error::InvalidConnection)),
            Some(Fault::Delay(time)) => {
                tokio::time::sleep(time).await;
                Ok(Ok(()))
            }
            Some(Fault::Hold) => {
                while self.is_holding() {
                    tokio::time::sleep(LOOK).await;
                }
                Ok(Ok(()))
            }
            Some(Fault::Trap) => Err(wasmtime::Error::msg("a trap of the fault plan")),
        }
    }

    /// Passes a point on a statement's own thread.
    ///
    /// # Panics
    /// Where a trap is planned, without a word from the panic hook.
    pub(crate) fn pass_blocking(&self, point: Point) -> Result<(), Error> {
        match self.next(point) {
            None => Ok(()),
            Some(Fault::Fail(message)) => Err(Error::Io(message)),
            Some(Fault::Gone) => Err(Error::InvalidConnection),
            Some(Fault::Delay(time)) => {
                std::thread::sleep(time);
                Ok(())
            }
            Some(Fault::Hold) => {
                while self.is_holding() {
                    std::thread::sleep(LOOK);
                }
                Ok(())
            }
            Some(Fault::Trap) => resume_unwind(Box::new("a trap of the fault plan")),
        }
    }
}
