"""Trains LSTM, GRU and plain RNN models under the same conditions and compares them."""
