"""Whether new texts deserve a new champion."""
