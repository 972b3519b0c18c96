"""profilectl: a customer profile store on one's own machine, with the rules of a data platform."""

__version__ = "0.1.0"
