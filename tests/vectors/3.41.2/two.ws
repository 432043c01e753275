{"msg":"send_hash"}
{"msg":"estimation","rank":0,"queue_size":1,"avg_event_process_time":0.04017042944617305,"avg_event_concurrent_process_time":0.010042607361543263,"rank_eta":0.04017042944617305,"queue_eta":0.0}
{"msg":"send_data"}
{"msg":"process_starts"}
{"msg":"process_completed","output":{"data":["ABC",3.0],"is_generating":false,"duration":0.0002963542938232422,"average_duration":0.00047977765401204425},"success":true}
