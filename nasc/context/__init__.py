"""What searches and compilations on one device and teacher share."""
