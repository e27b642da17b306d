//! The allocator, and how this program keeps its memory small.

/// Objects are made on one thread and dropped on another, thousands of small pieces each: the
/// system's allocator spends a quarter of a start of 10 000 files on it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of `mimalloc.h`: the options that are not stable have no names in the bindings.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
/// Milliseconds after which memory that is not needed goes back to the kernel, in place of 1 000. At once costs a twelfth
/// of the first pass over 10 000 files, this nothing that can be measured.
const PURGED_AFTER: std::ffi::c_long = 10;

/// No huge pages, of which the allocator fills few and which the kernel fills again and again; what is not needed goes back
/// soon. First of all that a host does.
pub(crate) fn keep_small() {
    #[cfg(target_os = "linux")]
    let _as_it_is = rustix::thread::disable_transparent_huge_pages(true);
    // SAFETY: it sets a number that the allocator reads each time; any number is allowed.
    #[allow(unsafe_code)]
    unsafe {
        libmimalloc_sys::mi_option_set(PURGE_DELAY, PURGED_AFTER);
    }
    // What waits to be given back since before waits for as long as it was told then, and all that comes after it.
    collect();
}

/// Gives back what is not needed now, of the heap and of the program's code.
pub(crate) fn give_back() {
    collect();
    #[cfg(target_os = "linux")]
    let_go_of_code();
}

/// The allocator gives memory back while it is at work; a host that has come to rest is not.
fn collect() {
    // SAFETY: it may be called at any time from any thread.
    #[allow(unsafe_code)]
    unsafe {
        libmimalloc_sys::mi_collect(true);
    }
}

/// Of the code of this program most was needed once, to start and to compile plugins, and the kernel maps 16 pages of it
/// for each that is needed. What is needed still is mapped again when it is, from the kernel's memory.
#[cfg(target_os = "linux")]
fn let_go_of_code() {
    let Some(code) = std::fs::read_to_string("/proc/self/maps")
        .ok()
        .and_then(|maps| mapped_at(&maps, give_back as *const () as usize))
    else {
        return;
    };
    // SAFETY: pages of a file that can only be read and executed are the same whenever they are mapped.
    #[allow(unsafe_code)]
    let _or_it_stays = unsafe {
        rustix::mm::madvise(code.start as *mut std::ffi::c_void, code.len(), rustix::mm::Advice::LinuxDontNeed)
    };
}

/// Where the code around an address is, by `/proc/PID/maps`: only of a file, and where nothing can have been written.
#[cfg(target_os = "linux")]
fn mapped_at(maps: &str, address: usize) -> Option<std::ops::Range<usize>> {
    maps.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let range = usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?;
        let is_code = words.next()? == "r-xp" && words.last().is_some_and(|path| path.starts_with('/'));
        (is_code && range.contains(&address)).then_some(range)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_that_is_set_is_the_one_that_is_meant() {
        // SAFETY: it reads a number.
        #[allow(unsafe_code)]
        let delay = || unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) };
        assert_eq!(delay(), 1_000, "its default, which no option beside it has");
        keep_small();
        assert_eq!(delay(), PURGED_AFTER);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn code_is_let_go_of_and_still_there() {
        let maps = std::fs::read_to_string("/proc/self/maps").expect("the kernel says what is mapped");
        let code = mapped_at(&maps, give_back as *const () as usize).expect("this program's code");
        assert!(code.len() > 1 << 20, "{code:?}");
        assert_eq!(mapped_at(&maps, &raw const maps as usize), None, "a stack is no code");
        assert_eq!(mapped_at("10-20 rwxp 0 0:0 0 /a\n20-30 r-xp 0 0:0 0 \n", 0x15), None, "it may have been written");
        assert_eq!(mapped_at("10-20 r-xp 0 0:0 0 /a\n", 0x15), Some(0x10..0x20));
        let resident = || {
            let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("RssFile:")).map(str::to_owned);
            line.and_then(|line| line.split_ascii_whitespace().next()?.parse::<u64>().ok()).expect("kB")
        };
        // All of it is read once.
        // SAFETY: it is mapped, and can be read.
        #[allow(unsafe_code)]
        let sum: u64 =
            code.clone().step_by(4096).map(|page| u64::from(unsafe { (page as *const u8).read_volatile() })).sum();
        let before = resident();
        give_back();
        assert!(resident() < before / 2, "{} of {before} kB stay mapped (sum {sum})", resident());
    }
}
