"""What readers of tables share: reading rows as records, and guessing what the columns are."""
