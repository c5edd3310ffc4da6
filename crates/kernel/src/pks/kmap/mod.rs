//! Pages of a region in the hands of code that does not own them.
//!
//! Much of a kernel works on pages that belong to somebody else: it gets a page, wants its address, uses it for a while and
//! gives it back. Three ways:
//!
//! | way | who may use the page meanwhile | what it costs |
//! |---|---|---|
//! | [`Kmap::kmap_local_page`] | the context that mapped it | a grant |
//! | [`Kmap::hand_over`] | nobody; the receiver maps it | nothing, and a grant for the receiver |
//! | [`Kmap::kmap`] | every context, as the shared knob says | changes of page tables, and interrupts to all CPUs |
//!
//! The last is for code that gives addresses to contexts which it does not know. It moves the page to a key that shared pages
//! have for themselves, so that whatever is let through to them opens no page that is not shared. The three mix, in every
//! order, on any page and between any contexts.
//!
//! | file | what |
//! |---|---|
//! | `local` | the local mapping |
//! | `handed` | the page on its way to another context |
//! | `shared` | the shared mapping, and how a page moves from key to key |
//! | `sharing` | why a local mapping holds while the page moves |
//! | `mark` | the mark and the count of a shared page |
//! | `records`, `hashed` | two places to keep them |
//! | `error` | what can be refused |
//!
//! While no memory is protected, each of the three is a load and a branch.
//!
//! # What is protected, and what is not
//!
//! Keys are fewer than pages, so that a grant opens more than the page it was asked for:
//!
//! * A local mapping opens all pages of the page's own key to its context, for as long as it lasts, to read or to write as was
//!   asked for; no pages of other keys.
//! * If at least one page of that key is shared in that time, it opens the shared key as well, with the same rights: so the
//!   holder reaches pages of *other* keys that are shared. It is no more than the shared knob lets everybody have, but for
//!   `strict`, and it is not reported. As soon as the last page of its key is shared no more, it is over.
//! * A shared page is open to nobody by itself: each context faults, and the knob says what follows. A context that is
//!   pardoned until it ends may then use all shared pages, and no others.
//! * That the memory is still there is not the business of keys: a mapping of a page that its owner has given back is an
//!   address like others.

mod error;
mod handed;
mod hashed;
mod local;
mod mark;
mod records;
mod shared;
mod sharing;

pub use error::{KmapError, NotHandedOver, OwnersOnly};
pub use handed::{HandedError, HandedPage};
pub use hashed::HashedMarks;
pub use local::LocalPage;
pub use mark::{Mark, Marks, NoRoom};
pub use records::{MarkWord, PageRecord, Records};
pub use shared::{Kmap, SharedKeys, SharedPage};
pub use sharing::Sharing;
pub(super) use sharing::SharingCell;
