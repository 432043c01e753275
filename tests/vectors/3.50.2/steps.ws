{"msg":"send_hash"}
{"msg":"estimation","rank":0,"queue_size":1,"avg_event_process_time":0.016486798563311176,"avg_event_concurrent_process_time":0.004121699640827794,"rank_eta":0.016486798563311176,"queue_eta":0.0}
{"msg":"send_data"}
{"msg":"process_starts"}
{"msg":"progress","progress_data":[{"index":0,"length":3,"unit":"parts","progress":null,"desc":"working"}]}
{"msg":"progress","progress_data":[{"index":1,"length":3,"unit":"parts","progress":null,"desc":"working"}]}
{"msg":"progress","progress_data":[{"index":2,"length":3,"unit":"parts","progress":null,"desc":"working"}]}
{"msg":"process_completed","output":{"data":["done"],"is_generating":false,"duration":0.45131731033325195,"average_duration":0.45221249262491864},"success":true}
