//! Cells on SQLite's b-tree pages, as bytes: what a row and an index entry look like, and where they lie.
//!
//! A page may hold copies of a cell that nobody reads any more, left behind when its cells were moved. The cells that
//! count are those that the page's own list points to (<https://www.sqlite.org/fileformat2.html#b_tree_pages>).

use super::orders::{Order, PENDING};

/// The first byte of a page: a leaf of a table's tree.
const TABLE_LEAF: u8 = 0x0D;

/// The first byte of a page: a leaf of an index's tree.
const INDEX_LEAF: u8 = 0x0A;

/// The size of SQLite's pages in bytes, where nobody says otherwise.
const PAGE_BYTES: usize = 4096;

/// Where the number of cells lies on a leaf.
const NR_CELLS_AT: usize = 3;

/// Where the beginning of the cells' part lies on a leaf.
const CONTENT_AT: usize = 5;

/// Where the list of the cells' places begins on a leaf.
const CELLS_AT: usize = 8;

/// The type of an integer of 24 bits.
const INTEGER_24: u8 = 3;

/// The type of a value that is the row's own number and takes no place.
const ROW_NUMBER: u8 = 0;

/// The type of an empty text; each byte of text adds 2.
const TEXT: u8 = 13;

/// A cell as it lies on a leaf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cell {
    leaf: u8,
    bytes: Vec<u8>,
    /// Which of its bytes matters here.
    at: usize,
}

impl Cell {
    /// The row of an order that was not served yet; the byte is the middle one of the amount.
    pub(crate) fn of_row(order: &Order) -> Self {
        let note = order.note();
        let types = [
            ROW_NUMBER,
            INTEGER_24,
            text_type(PENDING),
            INTEGER_24,
            text_type(&note),
        ];
        let customer = three_bytes(order.customer);
        let amount = three_bytes(order.amount_cents);
        let values = [&customer, PENDING.as_bytes(), &amount, note.as_bytes()].concat();
        let record = record(&types, &values);
        let bytes = [vec![length(&record)], varint(order.id), record].concat();
        let at = bytes.len() - note.len() - amount.len() + 1;
        Self {
            leaf: TABLE_LEAF,
            bytes,
            at,
        }
    }

    /// The entry of an order in the index by customers; the byte is the last one of the customer.
    pub(crate) fn of_entry(order: &Order) -> Self {
        let values = [three_bytes(order.customer), three_bytes(order.id)].concat();
        let record = record(&[INTEGER_24; 2], &values);
        let bytes = [vec![length(&record)], record].concat();
        let at = bytes.len() - 4;
        Self {
            leaf: INDEX_LEAF,
            bytes,
            at,
        }
    }

    /// Where the byte lies in memory that holds pages, once for each page that has this cell.
    pub(crate) fn places_in(&self, memory: &[u8]) -> Vec<usize> {
        let found = memory.windows(self.bytes.len()).enumerate();
        let found = found
            .filter(|(_, bytes)| *bytes == self.bytes)
            .map(|(start, _)| start);
        found
            .filter(|&start| self.is_listed(memory, start))
            .map(|start| start + self.at)
            .collect()
    }

    /// Whether the cell at `start` is one that its page's list points to.
    fn is_listed(&self, memory: &[u8], start: usize) -> bool {
        (start.saturating_sub(PAGE_BYTES)..start).any(|page| {
            memory[page] == self.leaf
                && cells(&memory[page..]).is_some_and(|cells| cells.contains(&(start - page)))
        })
    }
}

/// The places of a leaf's cells, from the beginning of the page; `None` where this is no page: all cells lie in the part
/// that the page keeps for them.
fn cells(page: &[u8]) -> Option<Vec<usize>> {
    let page = page.get(..PAGE_BYTES)?;
    let number = |at: usize| {
        Some(usize::from(u16::from_be_bytes(
            *page.get(at..)?.first_chunk()?,
        )))
    };
    let (nr_cells, content) = (number(NR_CELLS_AT)?, number(CONTENT_AT)?);
    let cells: Option<Vec<_>> = (0..nr_cells)
        .map(|cell| number(CELLS_AT + 2 * cell))
        .collect();
    let has_room = CELLS_AT + 2 * nr_cells <= content;
    cells.filter(|cells| {
        has_room
            && cells
                .iter()
                .all(|cell| (content..PAGE_BYTES).contains(cell))
    })
}

/// A record: the length of its header and the types, a byte each, then the values.
fn record(types: &[u8], values: &[u8]) -> Vec<u8> {
    [&[length(types) + 1], types, values].concat()
}

/// A length below 128, which is one byte as it is.
fn length(bytes: &[u8]) -> u8 {
    u8::try_from(bytes.len()).unwrap_or(u8::MAX)
}

fn text_type(text: &str) -> u8 {
    TEXT + 2 * length(text.as_bytes())
}

/// A number in seven bits a byte, the highest bits first; all bytes but the last have their top bit set.
fn varint(number: u32) -> Vec<u8> {
    let groups = [28, 21, 14, 7, 0].map(|shift| ((number >> shift) & 0x7F) as u8);
    let first = groups
        .iter()
        .position(|&group| group != 0)
        .unwrap_or(groups.len() - 1);
    let mut bytes = groups[first..].to_vec();
    let last = bytes.len() - 1;
    bytes[..last].iter_mut().for_each(|byte| *byte |= 0x80);
    bytes
}

fn three_bytes(value: u32) -> [u8; 3] {
    let [_, high, middle, low] = value.to_be_bytes();
    [high, middle, low]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::database;
    use crate::demo::orders::Orders;

    /// A file is pages one after the other: every order is on one of the table's, and on one of the index's or in its inner
    /// nodes.
    #[test]
    fn cells_are_found_where_sqlite_puts_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("orders.db");
        let orders = Orders::new(3_000);
        database::make(&path, orders, |_| {}).unwrap();
        let file = std::fs::read(&path).unwrap();
        let mut nr_entries = 0;
        for index in (0..3_000).step_by(30) {
            let order = orders.at(index);
            let [amount] = Cell::of_row(&order).places_in(&file)[..] else {
                panic!("{order:?}");
            };
            let bytes: [u8; 3] = file[amount - 1..amount + 2].try_into().unwrap();
            assert_eq!(three_bytes(order.amount_cents), bytes);
            let places = Cell::of_entry(&order).places_in(&file);
            assert!(places.len() <= 1, "{order:?}");
            nr_entries += places.len();
        }
        assert!(
            nr_entries >= 97,
            "few entries are on inner nodes: {nr_entries} of 100 are not"
        );
    }

    #[test]
    fn a_copy_that_no_list_points_to_does_not_count() {
        let order = Orders::new(1_000).at(5);
        let cell = Cell::of_entry(&order);
        let mut page = vec![0; PAGE_BYTES];
        for start in [1_000, 2_000] {
            page[start..start + cell.bytes.len()].copy_from_slice(&cell.bytes);
        }
        page[0] = INDEX_LEAF;
        assert!(cell.places_in(&page).is_empty());
        page[NR_CELLS_AT + 1] = 1;
        page[CONTENT_AT..CONTENT_AT + 2].copy_from_slice(&1_500_u16.to_be_bytes());
        page[CELLS_AT..CELLS_AT + 2].copy_from_slice(&2_000_u16.to_be_bytes());
        assert_eq!(cell.places_in(&page), [2_000 + cell.at]);
        page[0] = TABLE_LEAF;
        assert!(cell.places_in(&page).is_empty());
    }

    #[test]
    fn varints_as_the_file_format_has_them() {
        assert_eq!(varint(0), [0]);
        assert_eq!(varint(127), [0x7F]);
        assert_eq!(varint(128), [0x81, 0x00]);
        assert_eq!(varint(1_000_001), [0xBD, 0x84, 0x41]);
        assert_eq!(varint(u32::MAX), [0x8F, 0xFF, 0xFF, 0xFF, 0x7F]);
    }
}
