"""LSTM, GRU and RNN trained alike and compared."""
