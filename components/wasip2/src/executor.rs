//! Runs the one future of an instance, and waits for the host in its place.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use flow_window::log;
use wasi::io::poll::{Pollable, poll};

thread_local! {
    /// What the future has been found to wait for.
    static WAITED_FOR: Cell<Vec<Weak<Pollable>>> = const { Cell::new(Vec::new()) };
    /// Whether the future is to be polled again without a wait.
    static AGAIN: Cell<bool> = const { Cell::new(false) };
}

/// Polls a future to its end. Between two polls the host waits for whatever comes first.
pub(crate) fn run(future: impl Future<Output = ()>) {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    while future.as_mut().poll(&mut context).is_pending() {
        // What nobody waits for any more is gone already.
        let waited_for: Vec<_> = WAITED_FOR.take().iter().filter_map(Weak::upgrade).collect();
        if AGAIN.take() {
            continue;
        }
        if waited_for.is_empty() {
            // The response is dropped unfinished, so its connection is aborted.
            log::line(format_args!("a request waits for nothing; it is given up"));
            return;
        }
        poll(
            &waited_for
                .iter()
                .map(|pollable| &**pollable)
                .collect::<Vec<_>>(),
        );
    }
}

/// Waits for a pollable.
pub(crate) async fn ready(pollable: Pollable) {
    let pollable = Rc::new(pollable);
    poll_fn(|_| {
        if pollable.ready() {
            return Poll::Ready(());
        }
        let mut waited_for = WAITED_FOR.take();
        waited_for.push(Rc::downgrade(&pollable));
        WAITED_FOR.set(waited_for);
        Poll::Pending
    })
    .await;
}

/// Lets what is waited for beside this go first.
pub(crate) async fn yield_now() {
    let mut yielded = false;
    poll_fn(|_| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        AGAIN.set(true);
        Poll::Pending
    })
    .await;
}
