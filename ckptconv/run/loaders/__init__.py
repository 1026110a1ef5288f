"""Small programs that are copied beside artefacts, for people to read and to take from; they import no ckptconv."""
