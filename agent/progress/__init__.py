"""How far the trainings on this machine are, by what their ranks write and what their logs say."""
