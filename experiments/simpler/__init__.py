"""The sweep over SIMPLER: what is planned, its workers here and on the original, its tables and figures."""
