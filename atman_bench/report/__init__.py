"""From rows to tables and figures; never imports torch."""
