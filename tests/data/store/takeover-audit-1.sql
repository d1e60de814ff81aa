BEGIN TRANSACTION;
CREATE TABLE audit (
	number INTEGER NOT NULL, 
	at VARCHAR(32) NOT NULL, 
	kind VARCHAR(8) NOT NULL, 
	refers INTEGER, 
	actor VARCHAR(128) NOT NULL, 
	act VARCHAR(64) NOT NULL, 
	call VARCHAR(256), 
	facts TEXT NOT NULL, 
	reserve VARCHAR(32), 
	mac VARCHAR(64) NOT NULL, 
	PRIMARY KEY (number), 
	UNIQUE (reserve)
);
INSERT INTO "audit" VALUES(1,'2026-11-22T21:38:57.969902Z','intent',NULL,'2fa717d38ff4471d8983eb2ce6b4273e','takeover','lab~1700000000.1','{"engagement":"e1"}',NULL,'6d6742902c7d2f16dbb1dd704de6fa75564c2cc337c5d92dd193582083ab16e1');
INSERT INTO "audit" VALUES(2,'2026-11-22T21:38:57.974403Z','outcome',1,'2fa717d38ff4471d8983eb2ce6b4273e','takeover','lab~1700000000.1','{"engagement":"e1","result":"ok"}',NULL,'d036c70aa57fcda29fc23457ad2417907c4e396b7c6aef86d48fbc1490cee5f8');
INSERT INTO "audit" VALUES(3,'2026-11-22T21:38:57.975528Z','intent',NULL,'command-line','add-token',NULL,'{"name":"my-platform"}',NULL,'2b000c33d4971cfa766b1cd75ae322612ef74e6585f2723cfbfd6f69088a1a15');
INSERT INTO "audit" VALUES(4,'2026-11-22T21:38:57.979234Z','outcome',3,'command-line','add-token',NULL,'{"result":"ok"}',NULL,'c4ac982b78365124ad7d8cfb83c4d07627761f4a6c4c54cc58380754f83764d5');
CREATE TABLE audit_head (
	id INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	mac VARCHAR(64) NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "audit_head" VALUES(1,4,'c4ac982b78365124ad7d8cfb83c4d07627761f4a6c4c54cc58380754f83764d5');
CREATE INDEX audit_actor ON audit (actor);
CREATE INDEX audit_refers ON audit (refers);
CREATE INDEX audit_call ON audit (call);
CREATE INDEX audit_at ON audit (at);
COMMIT;
