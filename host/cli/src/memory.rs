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
    give_back();
}

/// Gives back what is not needed now. The allocator does so while it is at work; a host that has come to rest is not.
pub(crate) fn give_back() {
    // SAFETY: it may be called at any time from any thread.
    #[allow(unsafe_code)]
    unsafe {
        libmimalloc_sys::mi_collect(true);
    }
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
}
