{"msg":"send_hash"}
{"msg":"estimation","rank":0,"queue_size":1,"avg_event_process_time":0.01968517182748529,"avg_event_concurrent_process_time":0.0049212929568713225,"rank_eta":0.01968517182748529,"queue_eta":0.0}
{"msg":"send_data"}
{"msg":"process_starts"}
{"msg":"process_completed","output":{"data":[{"nan":null,"inf":null,"text":"naïve ✓ 🎉"}],"is_generating":false,"duration":0.00046062469482421875,"average_duration":0.00046062469482421875},"success":true}
