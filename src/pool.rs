//! A work-stealing pool: named workers that take jobs from their own deque first, then from the shared
//! injector, then from each other. It does not know what the jobs are. One lock, `sleep`.
//!
//! **Sleeping.** A worker that finds no job takes the lock, looks once more, and only then waits on the
//! condition variable. A thread that adds a job adds it first, and takes the same lock afterwards to notify.
//! So either the worker's last look sees the job, or the worker is already waiting when the notification
//! comes: none is lost. A job is a whole piece and takes thousands of times as long as that lock.
//!
//! **Stopping.** `stop` is set under the same lock. Queued jobs are dropped; what they own is
//! released in their `Drop`.
//!
//! **Bound.** The queues hold what was pushed. The callers bound it: one fetch job for each connection, and
//! finished pieces within the memory budget.

use crate::threads;
use crossbeam_deque::{Injector, Steal, Stealer, Worker};
use parking_lot::{Condvar, Mutex};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// Where jobs are pushed. Cheap to clone.
pub struct Pool<J> {
    shared: Arc<Shared<J>>,
}

impl<J> Clone for Pool<J> {
    fn clone(&self) -> Self {
        Pool { shared: Arc::clone(&self.shared) }
    }
}

struct Shared<J> {
    injector: Injector<J>,
    stealers: Vec<Stealer<J>>,
    stop: AtomicBool,
    sleep: Mutex<()>,
    wake: Condvar,
}

/// Which worker runs a job, and where the job came from.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Turn {
    /// Number of the worker, from 0.
    pub worker: usize,
    /// The worker from whose deque the job was stolen.
    pub stolen_from: Option<usize>,
}

/// The workers' threads. Stops and joins them when dropped.
pub struct Workers<J> {
    pool: Pool<J>,
    threads: Vec<JoinHandle<()>>,
}

/// Starts `count` workers named `NAME-N`, which call `run` for each job.
pub fn start<J, F>(name: &str, count: usize, run: F) -> io::Result<(Pool<J>, Workers<J>)>
where
    J: Send + 'static,
    F: Fn(Turn, J) + Send + Sync + 'static,
{
    let deques: Vec<Worker<J>> = (0..count.max(1)).map(|_| Worker::new_fifo()).collect();
    let shared = Arc::new(Shared {
        injector: Injector::new(),
        stealers: deques.iter().map(Worker::stealer).collect(),
        stop: AtomicBool::new(false),
        sleep: Mutex::new(()),
        wake: Condvar::new(),
    });
    let pool = Pool { shared };
    let mut workers = Workers { pool: pool.clone(), threads: Vec::new() };
    let run = Arc::new(run);
    for (number, deque) in deques.into_iter().enumerate() {
        let (shared, run) = (Arc::clone(&pool.shared), Arc::clone(&run));
        let work = move || {
            while let Some((job, stolen_from)) = shared.next_job(number, &deque) {
                run(Turn { worker: number, stolen_from }, job);
            }
        };
        workers.threads.push(threads::spawn(format!("{name}-{number}"), work)?);
    }
    Ok((pool, workers))
}

impl<J> Pool<J> {
    /// Adds a job and wakes a worker for it.
    pub fn push(&self, job: J) {
        self.shared.injector.push(job);
        self.shared.wake_one();
    }
}

impl<J> Shared<J> {
    fn wake_one(&self) {
        let _looked = self.sleep.lock();
        self.wake.notify_one();
    }

    /// The next job for worker `number`, and the worker it was stolen from. Waits if there is none.
    /// `None` once the pool stops.
    fn next_job(&self, number: usize, own: &Worker<J>) -> Option<(J, Option<usize>)> {
        loop {
            if self.stop.load(Ordering::Acquire) {
                return None;
            }
            if let Some(found) = self.find(number, own) {
                return Some(found);
            }
            let mut looked = self.sleep.lock();
            if self.nothing_to_do() {
                self.wake.wait(&mut looked);
            }
        }
    }

    fn nothing_to_do(&self) -> bool {
        !self.stop.load(Ordering::Acquire)
            && self.injector.is_empty()
            && self.stealers.iter().all(Stealer::is_empty)
    }

    fn find(&self, number: usize, own: &Worker<J>) -> Option<(J, Option<usize>)> {
        let unstolen = own.pop().or_else(|| self.take_batch(own)).map(|job| (job, None));
        unstolen.or_else(|| self.steal(number))
    }

    /// Takes a batch, so that the workers do not contend for the injector at every job. The rest
    /// can be stolen.
    fn take_batch(&self, own: &Worker<J>) -> Option<J> {
        let job = retry(|| self.injector.steal_batch_and_pop(own))?;
        if !own.is_empty() {
            self.wake_one();
        }
        Some(job)
    }

    fn steal(&self, number: usize) -> Option<(J, Option<usize>)> {
        let mut others = (1..self.stealers.len()).map(|step| (number + step) % self.stealers.len());
        others.find_map(|victim| retry(|| self.stealers[victim].steal()).map(|job| (job, Some(victim))))
    }
}

fn retry<J>(mut steal: impl FnMut() -> Steal<J>) -> Option<J> {
    loop {
        match steal() {
            Steal::Success(job) => return Some(job),
            Steal::Empty => return None,
            Steal::Retry => std::hint::spin_loop(),
        }
    }
}

impl<J> Drop for Workers<J> {
    fn drop(&mut self) {
        {
            let _looked = self.pool.shared.sleep.lock();
            self.pool.shared.stop.store(true, Ordering::Release);
            self.pool.shared.wake.notify_all();
        }
        for thread in self.threads.drain(..) {
            // A panic has ended the process already.
            let _ = thread.join();
        }
        // A job may own the pool in which it is queued; then both would never be freed.
        let shared = &self.pool.shared;
        while retry(|| shared.injector.steal()).is_some() {}
        shared.stealers.iter().for_each(|deque| while retry(|| deque.steal()).is_some() {});
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::thread;

    #[test]
    fn every_job_is_done_once_by_some_named_worker() {
        let (done, results) = crossbeam_channel::unbounded();
        let (pool, workers) = start("fetch", 4, move |turn, job: u32| {
            assert_eq!(thread::current().name(), Some(format!("fetch-{}", turn.worker).as_str()));
            done.send(job).unwrap();
        })
        .unwrap();
        let pushers: Vec<_> = (0..4)
            .map(|n| {
                let pool = pool.clone();
                thread::spawn(move || (0..5000).for_each(|job| pool.push(n * 5000 + job)))
            })
            .collect();
        pushers.into_iter().for_each(|pusher| pusher.join().unwrap());
        let all: HashSet<u32> = results.iter().take(20_000).collect();
        assert_eq!(all.len(), 20_000);
        drop(workers);
    }

    #[test]
    fn a_sleeping_pool_wakes_for_each_single_job_and_stops_while_asleep() {
        let (done, results) = crossbeam_channel::unbounded();
        let (pool, workers) = start("fetch", 3, move |_, job: u32| done.send(job).unwrap()).unwrap();
        for job in 0..2000 {
            pool.push(job);
            // Hangs if a wake-up is lost.
            assert_eq!(results.recv(), Ok(job));
        }
        drop(workers);
    }

    #[test]
    fn what_waits_behind_a_long_job_is_stolen() {
        let (done, results) = crossbeam_channel::unbounded();
        let (release, gate) = crossbeam_channel::bounded::<()>(0);
        let (pool, workers) = start("fetch", 2, move |turn: Turn, job: u32| {
            if job == 0 {
                gate.recv().unwrap();
            }
            done.send((turn, job)).unwrap();
        })
        .unwrap();
        (0..100).for_each(|job| pool.push(job));
        let others: Vec<(Turn, u32)> = results.iter().take(99).collect();
        release.send(()).unwrap();
        let (held, last) = results.recv().unwrap();
        assert_eq!(last, 0);
        for (turn, _) in others {
            assert_ne!(turn.worker, held.worker, "that one was at job 0 all the time");
            assert!(turn.stolen_from.is_none_or(|victim| victim == held.worker));
        }
        drop(workers);
    }

    /// Jobs once stayed in the queues, and a job that holds a pool keeps the queues alive.
    #[test]
    fn jobs_that_were_never_done_are_dropped_with_the_workers() {
        let (release, gate) = crossbeam_channel::bounded::<()>(0);
        let wait = move |_, _: Arc<()>| {
            let _ = gate.recv();
        };
        let (pool, workers) = start("fetch", 1, wait).unwrap();
        let job = Arc::new(());
        (0..100).for_each(|_| pool.push(Arc::clone(&job)));
        drop(release);
        drop(workers);
        assert_eq!(Arc::strong_count(&job), 1);
    }
}
