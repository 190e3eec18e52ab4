"""Quality control: what each slice looks like in numbers, what is wrong with it, and a page that shows it."""

from lvseg.quality.facts import FACTS_SCHEMA, slice_facts

__all__ = ["FACTS_SCHEMA", "slice_facts"]
