//! How much memory decoding may take, in all threads together: an image of a few bytes may declare pixels of gigabytes.
//!
//! A thread holds what it needs before it takes it, and waits while others hold too much. What one image may need is bounded by
//! [`SHARE`], so that the images that are being decoded never take more than the whole.

use std::cell::Cell;
use std::fs;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, LazyLock, Mutex, PoisonError};

/// One image may take this part of the whole; so may all others together before it begins.
const SHARE: u64 = 2;
/// The part of the machine's memory, or of what the process may have of it, that is used unless told.
const PART_OF_MACHINE: u64 = 2;
/// What a machine has that does not tell.
const UNTOLD: u64 = 8 << 30;

/// 0 until it is set.
static TOLD: AtomicU64 = AtomicU64::new(0);
static FOUND: LazyLock<u64> = LazyLock::new(|| memory_of_process() / PART_OF_MACHINE);

/// Sets how many bytes decoding may take in all threads of this process together. Unless it is set, it is half of what the process may
/// have (the limit of its control group), or of the machine's memory.
///
/// Results do not depend on it, but for images that need more than half of it, which are refused.
pub fn set_decoding_memory(bytes: u64) {
    TOLD.store(bytes.max(1), Ordering::Relaxed);
}

/// How many bytes decoding may take.
fn decoding_memory() -> u64 {
    match TOLD.load(Ordering::Relaxed) {
        0 => *FOUND,
        told => told,
    }
}

/// What all threads hold.
#[derive(Default)]
struct Held {
    bytes: u64,
    /// Threads that hold something and are not waiting for more: they will let go.
    at_work: usize,
}

#[derive(Default)]
struct Budget {
    held: Mutex<Held>,
    changed: Condvar,
}

static BUDGET: LazyLock<Budget> = LazyLock::new(Budget::default);

thread_local! {
    /// What this thread holds, by all of its [`Memory`].
    static MINE: Cell<u64> = const { Cell::new(0) };
}

/// Memory that this thread may use until it is dropped.
#[derive(Debug)]
pub(super) struct Memory {
    bytes: u64,
    /// It belongs to the thread.
    _not_send: PhantomData<*const ()>,
}

/// Waits until so many bytes may be taken.
///
/// # Errors
/// A reason without the path, if no image may take so much.
pub(super) fn hold(bytes: u64) -> Result<Memory, String> {
    BUDGET.hold(bytes, decoding_memory() / SHARE)
}

impl Budget {
    /// `most`: what one thread may hold, and what all may hold when one more begins.
    fn hold(&self, bytes: u64, most: u64) -> Result<Memory, String> {
        // Whoever holds nothing is not counted among those at work.
        let bytes = bytes.max(1);
        let mine = MINE.get();
        if mine.saturating_add(bytes) > most {
            return Err(format!(
                "decoding it needs about {} MB of memory, and one image may take {} MB here",
                mine.saturating_add(bytes).div_ceil(1_000_000),
                most / 1_000_000
            ));
        }
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.at_work -= usize::from(mine > 0);
        // With nobody at work nobody would let go: then one may begin whatever the others hold, which is not more than `most`.
        while held.at_work > 0 && held.bytes.saturating_add(bytes) > most {
            held = self.changed.wait(held).unwrap_or_else(PoisonError::into_inner);
        }
        held.bytes += bytes;
        held.at_work += 1;
        drop(held);
        MINE.set(mine + bytes);
        // A thread that waits for others to work may now be the only one left.
        self.changed.notify_all();
        Ok(Memory { bytes, _not_send: PhantomData })
    }

    fn release(&self, bytes: u64) {
        MINE.set(MINE.get() - bytes);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.bytes -= bytes;
        held.at_work -= usize::from(MINE.get() == 0);
        drop(held);
        self.changed.notify_all();
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        BUDGET.release(self.bytes);
    }
}

/// The memory that this process may have, in bytes: the least of what its control groups and the machine have.
fn memory_of_process() -> u64 {
    let read = |path: &str| fs::read_to_string(path).ok();
    let kib = read("/proc/meminfo").and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?.trim();
        line.strip_suffix("kB")?.trim().parse::<u64>().ok()
    });
    let own = read("/proc/self/cgroup").unwrap_or_default();
    let limits = groups(&own).into_iter().filter_map(|file| read(&file)?.trim().parse::<u64>().ok());
    // Without a limit version 2 says `max`, version 1 a number beyond any memory.
    limits.chain(kib.map(|kib| kib << 10)).filter(|bytes| *bytes > 0).min().unwrap_or(UNTOLD)
}

/// The files that hold the limits of the groups that `/proc/self/cgroup` names, and of those above them.
fn groups(own: &str) -> Vec<String> {
    let mut files =
        vec!["/sys/fs/cgroup/memory.max".into(), "/sys/fs/cgroup/memory/memory.limit_in_bytes".into()];
    for line in own.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(kind), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (root, file) = match kind {
            "" => ("/sys/fs/cgroup", "memory.max"),
            "memory" => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => continue,
        };
        let mut place = String::from(root);
        for part in path.split('/').filter(|part| !part.is_empty() && *part != "..") {
            place += "/";
            place += part;
            files.push(format!("{place}/{file}"));
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use std::thread;

    #[test]
    fn one_thread_may_hold_its_share_and_no_more() {
        let budget = Budget::default();
        assert!(budget.hold(101, 100).unwrap_err().contains("one image may take"));
        let first = budget.hold(60, 100).unwrap();
        assert!(budget.hold(41, 100).is_err());
        let second = budget.hold(40, 100).unwrap();
        for memory in [second, first] {
            budget.release(memory.bytes);
            std::mem::forget(memory);
        }
        assert_eq!(budget.held.lock().unwrap().bytes, 0);
        assert_eq!(budget.held.lock().unwrap().at_work, 0);
    }

    #[test]
    fn many_threads_never_hold_more_than_the_whole_and_all_come_to_an_end() {
        const MOST: u64 = 100;
        let (budget, now, peak) = (Budget::default(), AtomicU64::new(0), AtomicU64::new(0));
        let done = AtomicUsize::new(0);
        let take = |bytes| {
            let memory = budget.hold(bytes, MOST).unwrap();
            let sum = now.fetch_add(bytes, Ordering::SeqCst) + bytes;
            peak.fetch_max(sum, Ordering::SeqCst);
            thread::yield_now();
            memory
        };
        let give = |memory: Memory| {
            now.fetch_sub(memory.bytes, Ordering::SeqCst);
            budget.release(memory.bytes);
            std::mem::forget(memory);
        };
        thread::scope(|scope| {
            for number in 0..8u64 {
                let (take, give, done) = (&take, &give, &done);
                scope.spawn(move || {
                    // Every one needs a little first, and then nearly all.
                    for round in 0..50 {
                        let file = take(1 + (number + round) % 10);
                        let pixels = take(80 + number);
                        give(pixels);
                        give(file);
                    }
                    done.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        assert_eq!(done.load(Ordering::SeqCst), 8);
        assert!(peak.load(Ordering::SeqCst) <= SHARE * MOST, "{peak:?}");
    }

    #[test]
    fn limits_are_looked_for_in_the_own_group_and_all_above_it() {
        let files = groups("0::/a/b\n3:cpu:/x\n9:memory:/docker/1\nnonsense\n");
        assert!(files.contains(&"/sys/fs/cgroup/a/memory.max".into()));
        assert!(files.contains(&"/sys/fs/cgroup/a/b/memory.max".into()));
        assert!(files.contains(&"/sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes".into()));
        assert!(!files.iter().any(|file| file.contains("/x")));
        assert!(decoding_memory() > 0);
    }
}
