create table patient_words (patient blob not null references patients (id), word blob not null, primary key (patient, word)) strict, without rowid;
