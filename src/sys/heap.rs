//! The pages that the allocator begins with, taken from the kernel at once: `madvise(2)`, `MADV_POPULATE_WRITE`.

/// What glibc asks for at the first allocation: `M_TOP_PAD` of `mallopt(3)`, and a page.
const FIRST: usize = 33 * 4096;

/// Fills in the pages of the heap that is there. Every command uses most of them, and each would be a page fault of its
/// own: in a virtual machine over a microsecond, of which thirty are a hundredth of a start. Without the advice
/// (before Linux 5.14, or where the heap is another) nothing is lost but that.
pub fn populate() {
    // SAFETY: with 0 it moves nothing, and says where the heap ends.
    let end = unsafe { libc::sbrk(0) };
    if end.addr() == usize::MAX {
        return;
    }
    let begin = end.wrapping_byte_sub(FIRST);
    // SAFETY: the advice changes no byte of what it is given; what is not mapped there is refused with ENOMEM.
    let _ = unsafe { libc::madvise(begin, FIRST, libc::MADV_POPULATE_WRITE) };
}
