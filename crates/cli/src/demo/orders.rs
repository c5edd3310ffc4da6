//! The data: orders as a pure function of their number, and the SQL around them.
//!
//! Every field of every order follows from its number. So the file can be checked afterwards, row by row, against what was
//! written, which no check of SQLite's own can do. Numbers, customers and amounts all take three bytes in SQLite's
//! record format (24-bit integers, <https://www.sqlite.org/fileformat2.html#record_format>) and both states of an order
//! have the same length: rows stay on their page, and the bytes of a row are known beforehand.

/// The number of the first order.
const FIRST_ID: u32 = 1_000_001;

/// The number of the first customer.
const FIRST_CUSTOMER: u32 = 200_001;

/// How many orders a customer has on average.
const ORDERS_PER_CUSTOMER: u32 = 10;

/// Least and greatest amount of an order, in cents.
const AMOUNT_CENTS: core::ops::Range<u32> = 100_000..1_000_000;

/// The state of an order that was not served yet.
pub(crate) const PENDING: &str = "pending";

/// The state of an order that was served.
pub(crate) const SHIPPED: &str = "shipped";

/// The column of the amounts.
pub(crate) const AMOUNT_COLUMN: &str = "amount";

/// The tables.
pub(crate) const SCHEMA: &str = "
    CREATE TABLE orders(
        id INTEGER PRIMARY KEY, customer INTEGER, status TEXT, amount INTEGER, note TEXT
    );
    CREATE INDEX orders_by_customer ON orders(customer);";

/// A new order.
pub(crate) const INSERT: &str = "INSERT INTO orders VALUES (?1, ?2, 'pending', ?3, ?4)";

/// What an order costs.
pub(crate) const AMOUNT: &str = "SELECT amount FROM orders WHERE id = ?1";

/// What a customer has ordered, through the index.
pub(crate) const LIST: &str = "SELECT id, amount FROM orders WHERE customer = ?1";

/// An order leaves the house. The word stands in the statement itself: it is part of the program that SQLite makes of it.
pub(crate) const SHIP: &str = "UPDATE orders SET status = 'shipped' WHERE id = ?1";

/// The books.
pub(crate) const TOTAL: &str = "SELECT count(*), sum(amount) FROM orders";

/// The orders of a day: so many were there in the morning, others come in while it is worked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Orders {
    rows: u32,
}

/// An order as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) id: u32,
    pub(crate) customer: u32,
    pub(crate) amount_cents: u32,
}

/// What happens to an order: four statements.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    /// The order that is looked up, listed with its customer's others, and shipped.
    pub(crate) served: Order,
    /// The order that comes in, from the customer who was served before.
    pub(crate) repeat: Order,
}

/// Statements in a [`Step`].
pub(crate) const STATEMENTS_PER_STEP: u32 = 4;

impl Orders {
    /// So many orders in the morning.
    pub(crate) const fn new(rows: u32) -> Self {
        Self { rows }
    }

    /// How many there were in the morning.
    pub(crate) const fn rows(self) -> u32 {
        self.rows
    }

    /// The order at an index: those from [`rows`](Self::rows) on came in while orders were served.
    pub(crate) fn at(self, index: u32) -> Order {
        let id = FIRST_ID + index;
        let buyer = match index.checked_sub(self.rows) {
            None => index,
            // From the customer of the order before the one that was being served.
            Some(step) => (self.first_served() + step - 1) % self.rows,
        };
        let nr_customers = (self.rows / ORDERS_PER_CUSTOMER).max(1);
        Order {
            id,
            customer: FIRST_CUSTOMER + mix(buyer, 1) % nr_customers,
            amount_cents: AMOUNT_CENTS.start
                + mix(index, 2) % (AMOUNT_CENTS.end - AMOUNT_CENTS.start),
        }
    }

    /// The order with a number, if there can be one.
    pub(crate) fn with_id(self, id: i64) -> Option<Order> {
        let index = u32::try_from(id).ok()?.checked_sub(FIRST_ID)?;
        (index < 2 * self.rows).then(|| self.at(index))
    }

    /// What happens to the orders one after the other.
    pub(crate) fn step(self, number: u32) -> Step {
        Step {
            served: self.at((self.first_served() + number) % self.rows),
            repeat: self.at(self.rows + number),
        }
    }

    /// Work starts in the middle of the table, far from both ends.
    const fn first_served(self) -> u32 {
        self.rows / 2
    }
}

impl Order {
    /// What is written beside it.
    pub(crate) fn note(&self) -> String {
        format!("order {} for customer {}", self.id, self.customer)
    }
}

/// A number that looks random and is always the same (the finaliser of `SplitMix64`).
fn mix(index: u32, salt: u64) -> u32 {
    let mut z = (u64::from(index) + 1)
        .wrapping_mul(0x9E37_79B9_7F4A_7C15)
        .wrapping_add(salt << 56);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) >> 32) as u32
}
