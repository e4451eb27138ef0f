"""One stage per file with one public function; no stage knows another."""
