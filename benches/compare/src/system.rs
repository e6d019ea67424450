//! What the process holds and has worked, as the kernel counts it.

use std::time::Duration;

use anyhow::{Context, ensure};

/// Bytes of memory that the process has resident, shared mappings included.
///
/// # Errors
///
/// When the kernel does not tell.
pub(crate) fn resident() -> anyhow::Result<u64> {
    // Not VmRSS: that lags behind by what each processor has not added up yet.
    field("smaps_rollup", "Rss:")
}

/// The most that was resident since [`reset_peak`].
///
/// # Errors
///
/// When the kernel does not tell.
pub(crate) fn peak() -> anyhow::Result<u64> {
    field("status", "VmHWM:")
}

/// Lets the peak begin at what is resident now.
///
/// # Errors
///
/// When the kernel refuses.
pub(crate) fn reset_peak() -> anyhow::Result<()> {
    std::fs::write("/proc/self/clear_refs", "5").context("/proc/self/clear_refs")
}

/// Gives what the allocator holds free back to the system, so that what a peer takes afterwards is
/// seen as new.
pub(crate) fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: may be called at any time; it takes the allocator's locks itself.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Touches so many bytes of fresh memory and gives them back, so that the machine has them at hand: below a
/// hypervisor, memory that no process has touched for some seconds has to be fetched from the host, which
/// takes four times as long as the kernel's own work for a fresh page, and differs from child to child.
///
/// # Errors
///
/// When there is not so much memory.
pub(crate) fn warm(bytes: usize) -> anyhow::Result<()> {
    let (protection, flags) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a mapping of its own, at an address that the kernel chooses.
    let at = unsafe { libc::mmap(std::ptr::null_mut(), bytes, protection, flags, -1, 0) };
    ensure!(at != libc::MAP_FAILED, "{bytes} bytes of memory cannot be had");
    // As huge pages, where there are such: what is given back lies together then. Others do as well.
    #[cfg(target_os = "linux")]
    // SAFETY: advice about the mapping, which is there.
    let _ = unsafe { libc::madvise(at, bytes, libc::MADV_HUGEPAGE) };
    // SAFETY: the mapping is there until it is taken away below.
    unsafe { at.cast::<u8>().write_bytes(1, bytes) };
    // SAFETY: the mapping of above, which nobody has a pointer into.
    let gone = unsafe { libc::munmap(at, bytes) };
    ensure!(gone == 0, "{bytes} bytes of memory cannot be given back");
    Ok(())
}

/// Time that processors have worked for this process.
pub(crate) fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid for writing, and the clock exists on every Unix.
    let told = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    assert_eq!(told, 0, "the clock of the process");
    let [seconds, nanoseconds] = [time.tv_sec, time.tv_nsec].map(i64::unsigned_abs);
    Duration::from_secs(seconds) + Duration::from_nanos(nanoseconds)
}

fn field(file: &str, name: &str) -> anyhow::Result<u64> {
    let file = format!("/proc/self/{file}");
    let text = std::fs::read_to_string(&file).with_context(|| file.clone())?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next());
    let kib: u64 = number.with_context(|| format!("no {name} in {file}"))?.parse()?;
    Ok(kib * 1024)
}
