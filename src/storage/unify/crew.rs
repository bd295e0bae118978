//! The same work on many things by several threads, which are gone when it is done.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use crate::error::{Error, Kind, Result};

/// How often the caller is told that time passes.
const TICK: Duration = Duration::from_millis(100);

/// Results in the order of the items, or the first failure. No more is begun after one.
pub(super) fn each<T: Sync, R: Send>(
    threads: usize,
    items: &[T],
    work: impl Fn(&T) -> Result<R> + Sync,
    mut tick: impl FnMut() -> Result<()>,
) -> Result<Vec<R>> {
    let next = AtomicUsize::new(0);
    let is_over = AtomicBool::new(false);
    let mut results: Vec<Option<R>> = items.iter().map(|_| None).collect();
    let mut failed: Option<Error> = None;
    std::thread::scope(|scope| {
        let (tell, told) = mpsc::channel();
        for _ in 0..threads.clamp(1, items.len().max(1)) {
            let (tell, next, is_over, work) = (tell.clone(), &next, &is_over, &work);
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(at) else { break };
                    if tell.send((at, work(item))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(tell);
        loop {
            let failure = match told.recv_timeout(TICK) {
                Ok((at, Ok(result))) => {
                    results[at] = Some(result);
                    None
                }
                Ok((_, Err(err))) => Some(err),
                Err(mpsc::RecvTimeoutError::Timeout) => tick().err(),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
            };
            if let Some(err) = failure {
                is_over.store(true, Ordering::Relaxed);
                failed.get_or_insert(err);
            }
        }
    });
    match failed {
        Some(err) => Err(err),
        None => results
            .into_iter()
            .map(|result| result.ok_or_else(|| Error::new(Kind::Internal, "a thread ended without a result")))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_has_its_turn_and_a_failure_ends_it() {
        let items: Vec<u32> = (0..100).collect();
        let doubled = each(3, &items, |n| Ok(n * 2), || Ok(())).unwrap();
        assert_eq!(doubled, items.iter().map(|n| n * 2).collect::<Vec<_>>());
        let failed = each(
            3,
            &items,
            |n| {
                if *n == 7 {
                    Err(Error::new(Kind::State, "seven"))
                } else {
                    Ok(())
                }
            },
            || Ok(()),
        );
        assert_eq!(failed.unwrap_err().to_string(), "seven");
        assert_eq!(each(3, &[] as &[u32], |_| Ok(()), || Ok(())).unwrap(), []);
    }
}
