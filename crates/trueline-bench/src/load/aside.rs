//! How the threads of a load share processors with the server that they ask.

use std::io;

/// Has this thread stand aside: what wakes it does not take a processor from who works there. Callers of another machine would
/// not stop a server in the middle of an answer, and on the same one they would with each answer that they get. What a thread
/// waits for a processor is in the latencies that it tells all the same.
///
/// # Errors
/// Where that is forbidden; Linux lets everybody do it.
pub(super) fn stand() -> io::Result<()> {
    // SAFETY: a priority of zero, the only field there is, is the one that this policy has; zero is this thread, and nothing is kept of
    // what is pointed to.
    #[allow(unsafe_code)]
    let done = unsafe {
        let own: libc::sched_param = std::mem::zeroed();
        libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const own)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_thread_stands_aside() {
        // The 41st field of a thread's state is its policy: 3 is that of batches.
        let policy = || {
            let told = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            let fields = told.rsplit_once(')').unwrap().1.split_whitespace().nth(38);
            fields.unwrap().to_owned()
        };
        let before = policy();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                stand().unwrap();
                assert_eq!(policy(), "3");
            });
        });
        assert_eq!(policy(), before);
    }
}
