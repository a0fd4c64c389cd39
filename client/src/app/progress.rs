//! Where commands report progress, without knowing how it is drawn.

/// A place that draws progress.
pub trait Bars: Send + Sync {
    /// A bar named by `label` (escaped already). It goes away when dropped.
    fn add(&self, label: String) -> Box<dyn Bar>;
}

/// One bar.
pub trait Bar: Send + Sync {
    /// So many of `total` bytes are done; `note` is shown beside it.
    fn set(&self, done: u64, total: u64, note: &str);
}

/// Draws nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoBars;

impl Bars for NoBars {
    fn add(&self, _: String) -> Box<dyn Bar> {
        Box::new(Self)
    }
}

impl Bar for NoBars {
    fn set(&self, _: u64, _: u64, _: &str) {}
}
