//! A list that grows without moving what it holds.

/// Elements of a page.
const PAGE: usize = 512;

/// The list, in pages: a vector that doubles would copy everything time and again, into memory that is new each time.
pub(super) struct Pages<T> {
    pages: Vec<Vec<T>>,
}

impl<T> Default for Pages<T> {
    fn default() -> Self {
        Pages { pages: Vec::new() }
    }
}

impl<T> Pages<T> {
    pub(super) fn len(&self) -> usize {
        self.pages.last().map_or(0, |last| (self.pages.len() - 1) * PAGE + last.len())
    }

    pub(super) fn push(&mut self, element: T) {
        match self.pages.last_mut() {
            Some(last) if last.len() < PAGE => last.push(element),
            _ => {
                // The first page grows up to its size, so that a short list stays small.
                let mut page = Vec::with_capacity(if self.pages.is_empty() { 1 } else { PAGE });
                page.push(element);
                self.pages.push(page);
            }
        }
    }

    pub(super) fn get(&self, at: usize) -> Option<&T> {
        self.pages.get(at / PAGE)?.get(at % PAGE)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.pages.iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_pushed_is_there_in_order() {
        let mut pages = Pages::default();
        for n in 0..PAGE * 2 + 3 {
            assert_eq!((pages.len(), pages.get(n)), (n, None));
            pages.push(n);
        }
        assert!(pages.iter().copied().eq(0..PAGE * 2 + 3));
        assert!((0..PAGE * 2 + 3).all(|n| pages.get(n) == Some(&n)));
    }
}
